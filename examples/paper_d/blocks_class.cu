// Blocks of paper D on a GPU whose router sees the class token of an image; the mean: more_layers.cu.
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

namespace paper_d {

using polymoe::bf16, polymoe::cuda, polymoe::unit::class_token;

template layer<bf16, cuda>::config image_blocks<bf16, cuda, class_token>(routing, const layer_sizes&, int k,
                                                                         double lambda);

}  // namespace paper_d
