// Standard convolutions on a GPU: blocks of two 3 x 3 convolutions.
#include <polymoe/backend/cuda/dispatch/conv.cuh>
#include <polymoe/backend/cuda/dispatch/group_norm.cuh>
#include <polymoe/cuda.cuh>
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

namespace paper_a {

using polymoe::bf16, polymoe::cuda;

template dense<bf16, cuda>::config standard_block<bf16, cuda>(const block_sizes&);
template layer<bf16, cuda>::config standard_experts<bf16, cuda>(kind, const block_sizes&);

}  // namespace paper_a
