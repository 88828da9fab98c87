// Standard convolutions on a GPU: blocks of two 3 x 3 convolutions.
#include <polymoe/cuda.cuh>

#include "layers.hpp"

namespace paper_a {

template layer<polymoe::bf16, polymoe::cuda>::config standard_body<polymoe::bf16, polymoe::cuda>(kind,
                                                                                                 const block_sizes&);

}  // namespace paper_a
