// Blocks of paper D on a GPU whose router sees the class token of an image.
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

namespace paper_d {

using polymoe::bf16, polymoe::cuda, polymoe::unit::class_token;

template layer<bf16, cuda>::config learned_blocks<bf16, cuda, 1, class_token>(const layer_sizes&);
template layer<bf16, cuda>::config learned_blocks<bf16, cuda, 2, class_token>(const layer_sizes&);
template layer<bf16, cuda>::config learned_blocks<bf16, cuda, 4, class_token>(const layer_sizes&);
template layer<bf16, cuda>::config told_blocks<bf16, cuda, 1, class_token>(const layer_sizes&, double lambda);
template layer<bf16, cuda>::config told_blocks<bf16, cuda, 2, class_token>(const layer_sizes&, double lambda);
template layer<bf16, cuda>::config told_blocks<bf16, cuda, 4, class_token>(const layer_sizes&, double lambda);

}  // namespace paper_d
