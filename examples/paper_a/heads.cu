// Experts in the classifier head on a GPU.
#include <polymoe/cuda.cuh>

#include "heads.hpp"

namespace paper_a {

template layer<polymoe::bf16, polymoe::cuda>::config expert_head<polymoe::bf16, polymoe::cuda>(kind, const head_sizes&);

}  // namespace paper_a
