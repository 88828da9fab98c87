// The arms of paper A on the CPU.
#include "arms.hpp"

namespace paper_a {

polymoe::routed_shape shape_of(const options& o, const images& data) {
  return body_shape<float, polymoe::cpu>(o, data);
}
polymoe::routed_shape head_shape_of(const options& o, const images& data, index hidden) {
  return head_shape<float, polymoe::cpu>(o, data, hidden);
}
result run(kind which, const std::string& name, index hidden, const settings& s, const options& o, std::uint64_t seed,
           const images& data) {
  return run_arm<float, polymoe::cpu>(which, name, hidden, s, o, seed, data);
}

}  // namespace paper_a
