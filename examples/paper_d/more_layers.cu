// The other layers of experts of paper D on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

namespace paper_d {

using polymoe::bf16, polymoe::cuda, polymoe::unit::mean;

// These are in layers.cu.
extern template layer<bf16, cuda>::config token_layer_of<bf16, cuda, 1>(const layer_sizes&);
extern template layer<bf16, cuda>::config learned_blocks<bf16, cuda, 2, mean>(const layer_sizes&);
extern template layer<bf16, cuda>::config told_blocks<bf16, cuda, 1, mean>(const layer_sizes&, double lambda);

template layer<bf16, cuda>::config token_layer<bf16, cuda>(const layer_sizes&, int k);
template layer<bf16, cuda>::config image_blocks<bf16, cuda, mean>(routing, const layer_sizes&, int k, double lambda);

}  // namespace paper_d
