// Soft MoE over the batch on CUDA against the CPU's: normalised and plain, groups in pieces, more slots than a block
// has warps for, calls smaller than what was bound.
// timeout: 600
// with: slots
#include "slot_cases.hpp"

namespace {
using namespace slot_test;
}  // namespace

TEST_CASE("the batch, normalised and plain; more slots than a block has warps for") {
  check<soft_spec<double, axis::batch>>({.units = 63, .experts = 6, .dim = 12, .with_bad = true, .seed = 8});
  check<soft_spec<float, axis::batch, false>>(
      {.units = 65, .experts = 32, .dim = 8, .with_bad = true, .seed = 9, .slots = 17});
  check<soft_spec<bf16, axis::batch>>({.units = 70, .experts = 7, .dim = 24, .with_bad = true, .seed = 10, .slots = 5});
}
TEST_CASE("a batch in pieces") {
  // 1100 units: five blocks a group, the last one shorter.
  check<soft_spec<double, axis::batch>>(
      {.units = 1100, .experts = 3, .dim = 6, .hidden = 5, .with_bad = true, .seed = 11, .slots = 2});
}
TEST_CASE("one unit, and fewer units than were bound") {
  check<soft_spec<double, axis::batch>>({.units = 1, .experts = 1, .dim = 10, .seed = 13});
  check<soft_spec<float, axis::batch>>({.units = 14, .experts = 3, .dim = 12, .seed = 15, .max_units = 30, .slots = 2});
}
