// Classifier heads, of experts and dense, on a GPU.
#include <polymoe/cuda.cuh>
#include <polymoe/cuda_nn.cuh>

#include "heads.hpp"

namespace paper_a {

template layer<polymoe::bf16, polymoe::cuda>::config expert_head<polymoe::bf16, polymoe::cuda>(kind, const head_sizes&);
template dense<polymoe::bf16, polymoe::cuda>::config dense_head<polymoe::bf16, polymoe::cuda>(const head_sizes&);

}  // namespace paper_a
