// Depthwise convolutions: blocks of a depthwise convolution and two pointwise layers.
#include "layers.hpp"

namespace paper_a {

template dense<float, polymoe::cpu>::config depthwise_block<float, polymoe::cpu>(const block_sizes&);
template layer<float, polymoe::cpu>::config depthwise_experts<float, polymoe::cpu>(kind, const block_sizes&);

}  // namespace paper_a
