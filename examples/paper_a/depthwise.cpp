// Depthwise convolutions: blocks of a depthwise convolution and two pointwise layers.
#include "layers.hpp"

paper_a::layer::config paper_a::depthwise_body(kind which, const block_sizes& sizes) {
  return body_of<polymoe::expert::depthwise_block<>>(which, sizes);
}
