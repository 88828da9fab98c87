// The arms of paper D on the CPU.
#include "arms.hpp"

paper_d::result paper_d::run(routing how, const std::string& name, const settings& s, const options& o,
                             std::uint64_t seed, const images& data) {
  return run_arm<float, polymoe::cpu>(how, name, s, o, seed, data);
}
