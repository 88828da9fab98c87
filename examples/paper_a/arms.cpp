// The arms of paper A on the CPU.
#include "arms.hpp"

namespace paper_a {

polymoe::routed_shape shape_of(const options& o, const images& data) {
  return network_shape<float, polymoe::cpu>(o, data);
}
result run(kind which, const std::string& name, index hidden, const settings& s, const options& o, std::uint64_t seed,
           const images& data) {
  return run_arm<float, polymoe::cpu>(which, name, hidden, s, o, seed, data);
}

}  // namespace paper_a
