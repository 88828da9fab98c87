// Standard convolutions: blocks of two 3 x 3 convolutions.
#include "arms.hpp"

paper_a::result paper_a::run_standard(kind which, const std::string& name, index hidden, const settings& s, const options& o,
                                      std::uint64_t seed, const images& data) {
  return run_kind<polymoe::expert::conv_block<act::relu>>(which, name, hidden, s, o, seed, data);
}
