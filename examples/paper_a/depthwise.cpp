// Depthwise convolutions: blocks of a depthwise convolution and two pointwise layers.
#include "layers.hpp"

namespace paper_a {

template layer<float, polymoe::cpu>::config depthwise_body<float, polymoe::cpu>(kind, const block_sizes&);

}  // namespace paper_a
