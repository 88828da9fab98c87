// Depthwise convolutions: blocks of a depthwise convolution and two pointwise layers.
#include "arms.hpp"

paper_a::result paper_a::run_depthwise(kind which, const std::string& name, index hidden, const settings& s, const options& o,
                                       std::uint64_t seed, const images& data) {
  return run_kind<polymoe::expert::depthwise_block<>>(which, name, hidden, s, o, seed, data);
}
