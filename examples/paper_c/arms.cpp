// The arms of paper C on the CPU.
#include "arms.hpp"

paper_c::result paper_c::run(router which, double capacity, const std::string& name, const settings& s,
                             const options& o, std::uint64_t seed, const images& data, const images& probe) {
  return run_arm<float, polymoe::cpu>(which, capacity, name, s, o, seed, data, probe);
}
