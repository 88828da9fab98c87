// Standard convolutions: blocks of two 3 x 3 convolutions.
#include "layers.hpp"

paper_a::layer::config paper_a::standard_body(kind which, const block_sizes& sizes) {
  return body_of<polymoe::expert::conv_block<act::relu>>(which, sizes);
}
