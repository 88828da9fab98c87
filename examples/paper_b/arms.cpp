// The arms of paper B on the CPU.
#include "arms.hpp"

paper_b::result paper_b::run(head which, const std::string& name, const settings& s, const options& o,
                             std::uint64_t seed, const images& data) {
  return run_arm<float, polymoe::cpu>(which, name, s, o, seed, data, &look_at);
}
