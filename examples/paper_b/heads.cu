// The heads of experts of paper B on a GPU.
#include <polymoe/cuda.cuh>

#include "heads.hpp"

namespace paper_b {

template layer<polymoe::bf16, polymoe::cuda>::config coded_head<polymoe::bf16, polymoe::cuda>(head, index, index);
template layer<polymoe::bf16, polymoe::cuda>::config published_head<polymoe::bf16, polymoe::cuda>(head, index, index);
template layer<polymoe::bf16, polymoe::cuda>::config noisy_head<polymoe::bf16, polymoe::cuda>(index, index);

}  // namespace paper_b
