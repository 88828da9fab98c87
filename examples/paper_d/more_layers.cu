// The other layers of experts of paper D on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

namespace paper_d {

using polymoe::bf16, polymoe::cuda, polymoe::unit::mean;

template layer<bf16, cuda>::config token_layer<bf16, cuda, 2>(const layer_sizes&);
template layer<bf16, cuda>::config token_layer<bf16, cuda, 4>(const layer_sizes&);
template layer<bf16, cuda>::config learned_blocks<bf16, cuda, 1, mean>(const layer_sizes&);
template layer<bf16, cuda>::config learned_blocks<bf16, cuda, 4, mean>(const layer_sizes&);
template layer<bf16, cuda>::config told_blocks<bf16, cuda, 2, mean>(const layer_sizes&, double lambda);
template layer<bf16, cuda>::config told_blocks<bf16, cuda, 4, mean>(const layer_sizes&, double lambda);

}  // namespace paper_d
