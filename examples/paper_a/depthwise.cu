// Depthwise convolutions on a GPU: blocks of a depthwise convolution and two pointwise layers.
#include <polymoe/cuda.cuh>

#include "layers.hpp"

namespace paper_a {

template layer<polymoe::bf16, polymoe::cuda>::config depthwise_body<polymoe::bf16, polymoe::cuda>(kind,
                                                                                                  const block_sizes&);

}  // namespace paper_a
