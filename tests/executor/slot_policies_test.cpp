// Soft MoE on CUDA with other policies against the CPU's: without lengths, units of several rows, heads, slots that are
// mixed again in backward, products of experts grouped or batched.
// timeout: 600
// with: slots
#include "slot_cases.hpp"

namespace {
using namespace slot_test;

struct soft_blocks : soft_spec<float, axis::batch> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
};
struct soft_heads : soft_spec<double> {
  using expert = polymoe::expert::head<polymoe::act::relu>;
};
struct soft_again : soft_spec<float> {
  using save = polymoe::save::nothing;
};
struct soft_grouped : soft_spec<float> {
  static constexpr polymoe::product_path products = polymoe::product_path::grouped;
};
}  // namespace

TEST_CASE("images without lengths") {
  check<soft_spec<double, axis::image, false>>(
      {.units = 34, .experts = 4, .dim = 10, .group_size = 17, .with_bad = true, .seed = 6});
  check<soft_spec<double, axis::image, false>>(
      {.units = 34, .experts = 4, .dim = 10, .group_size = 17, .with_bad = true, .seed = 8, .logit_noise = 0.6f});
  check<soft_spec<bf16, axis::image, false>>(
      {.units = 32, .experts = 5, .dim = 16, .group_size = 8, .with_bad = true, .seed = 7});
}
TEST_CASE("blocks of rows as units, heads, slots that are mixed again in backward, grouped products") {
  check<soft_blocks>({.units = 13, .experts = 3, .dim = 10, .unit_rows = 3, .with_bad = true, .seed = 16, .slots = 2});
  check<soft_heads>(
      {.units = 20, .experts = 3, .dim = 10, .hidden = 9, .classes = 4, .group_size = 5, .seed = 17, .slots = 2});
  check<soft_again>({.units = 24, .experts = 3, .dim = 10, .group_size = 12, .with_bad = true, .seed = 18, .slots = 2},
                    false);
  both<soft_grouped> grouped({.units = 24, .experts = 3, .dim = 10, .group_size = 12, .seed = 19, .slots = 2});
  CHECK(grouped.device().module().describe().find("grouped kernel") != std::string::npos);
  both<soft_spec<float>> batched({.units = 24, .experts = 3, .dim = 10, .group_size = 12, .seed = 19, .slots = 2});
  const std::string text = batched.device().module().describe();
  for (const char* part : {"cuBLASLt batched", "plan of slots, dispatch and combine [T, E*C] by batched products"})
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
}
