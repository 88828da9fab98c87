// The capacity formula: rounding, multiples, absolute values, evaluation, and factors that floats cannot hold.
#include "support/moe.hpp"

namespace moe_test {
using polymoe::capacity_query;
namespace capacity = polymoe::capacity;
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;

namespace {

using up = capacity::bounded<>;
using nearest = capacity::bounded<overflow::drop, priority::position, capacity::rounding::nearest>;

template <class C>
C with_factor(float f) {
  C c;
  c.factor = f;
  return c;
}
/// ceil(hundredths / 100 * n * k / e) in whole numbers, at most n.
index exact_ceil(index hundredths, index n, index k, index e) {
  const index a = hundredths * n * k, b = 100 * e;
  const index c = a / b + (a % b != 0);
  return c < n ? c : n;
}

// Usable where sizes are constants.
static_assert(up{}.slots({1024, 8, 2, true}) == 320);
static_assert(capacity::unlimited{}.slots({1024, 8, 2, true}) == 1024);
static_assert(!capacity::unlimited::limited && up::limited);
static_assert(up{.factor = 1, .eval_factor = 2.0f}.slots({96, 8, 2, false}) == 48);
static_assert(up{.factor = 1, .absolute = 7}.slots({96, 8, 2, true}) == 7);
static_assert(up{.absolute = 7, .eval_absolute = 9}.slots({96, 8, 2, false}) == 9);
static_assert(!up{}.eval_factor && !up{}.absolute && !up{}.eval_absolute);

template <class F>
bool refused(F change, std::initializer_list<const char*> parts) {
  up c;
  change(c);
  return refuses([&] { c.validate(); }, parts) && refuses([&] { (void)c.slots({10, 4, 2, true}); }, parts);
}

}  // namespace

TEST_CASE("ceil agrees with whole-number arithmetic for every factor in hundredths") {
  for (index hundredths = 1; hundredths <= 400; ++hundredths) {
    const up c = with_factor<up>(static_cast<float>(static_cast<double>(hundredths) / 100));
    for (const index n : {1, 2, 7, 10, 64, 100, 197, 1000, 4096, 50176, 1000000})
      for (const index k : {1, 2, 3, 8})
        for (const index e : {8, 10, 32, 1000})
          REQUIRE_MESSAGE(c.slots({n, e, k, true}) == exact_ceil(hundredths, n, k, e), "factor ", hundredths,
                          "/100, n ", n, ", k ", k, ", E ", e);
  }
}

TEST_CASE("factors that floats cannot hold do not add a slot") {
  CHECK(with_factor<up>(0.1f).slots({10, 1, 1, true}) == 1);
  CHECK(with_factor<up>(0.1f).slots({1000, 1, 1, true}) == 100);
  CHECK(with_factor<up>(1.1f).slots({100, 10, 1, true}) == 11);
  CHECK(with_factor<up>(0.7f).slots({10, 1, 1, true}) == 7);
  CHECK(with_factor<up>(1.05f).slots({2000000, 1000, 1, true}) == 2100);
  // One unit more than a whole number of slots needs one slot more, also when slots are many.
  CHECK(with_factor<up>(1.0f).slots({2000001, 1000, 1, true}) == 2001);
  CHECK(with_factor<up>(1.0f).slots({8000001, 8, 1, true}) == 1000001);
}

TEST_CASE("nearest rounds down below one half and up above") {
  CHECK(with_factor<nearest>(1.0f).slots({14, 10, 1, true}) == 1);
  CHECK(with_factor<nearest>(1.0f).slots({16, 10, 1, true}) == 2);
  CHECK(with_factor<nearest>(1.0f).slots({24, 10, 1, true}) == 2);
  CHECK(with_factor<nearest>(1.25f).slots({100, 8, 2, true}) == 31);  // 31.25
  CHECK(with_factor<nearest>(0.1f).slots({1, 8, 1, true}) == 0);
  CHECK(with_factor<up>(0.1f).slots({1, 8, 1, true}) == 1);
}

TEST_CASE("never more slots than units, then raised to the multiple") {
  CHECK(with_factor<up>(100.0f).slots({10, 4, 2, true}) == 10);
  up c = with_factor<up>(1.0f);
  c.multiple_of = 8;
  CHECK(c.slots({100, 8, 1, true}) == 16);  // 12.5
  CHECK(c.slots({128, 8, 1, true}) == 16);
  c.factor = 100;
  CHECK(c.slots({10, 4, 2, true}) == 16);
}

TEST_CASE("an absolute number of slots ignores factors, in training and evaluation") {
  up c = with_factor<up>(3.0f);
  c.eval_factor = 2.0f, c.absolute = 1;
  CHECK(c.slots({100, 4, 2, true}) == 1);
  CHECK(c.slots({100, 4, 2, false}) == 1);
  c.absolute = 1000;
  CHECK(c.slots({100, 4, 2, true}) == 100);
}

TEST_CASE("evaluation has its own absolute number when one is given") {
  up c = with_factor<up>(0.5f);
  c.absolute = 3, c.eval_absolute = 40;
  CHECK(c.slots({100, 4, 2, true}) == 3);
  CHECK(c.slots({100, 4, 2, false}) == 40);
  c.eval_absolute = 0;
  CHECK(c.slots({100, 4, 2, true}) == 3);
  CHECK(c.slots({100, 4, 2, false}) == 0);
  c.eval_absolute = 1000, c.multiple_of = 8;
  CHECK(c.slots({100, 4, 2, false}) == 104);
  // It takes the place of factors, those of evaluation too; training keeps its own.
  c.absolute.reset(), c.eval_factor = 1.0f, c.eval_absolute = 7, c.multiple_of = 1;
  CHECK(c.slots({100, 4, 2, true}) == 25);
  CHECK(c.slots({100, 4, 2, false}) == 7);
}

TEST_CASE("an absolute number of zero slots is zero slots, not the factor") {
  up c = with_factor<up>(3.0f);
  c.absolute = 0;
  CHECK(c.slots({100, 4, 2, true}) == 0);
  c.absolute.reset();
  CHECK(c.slots({100, 4, 2, true}) == 100);
}

TEST_CASE("numbers that make no sense are refused, and named") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(refused([](up& c) { c.factor = -1.5f; }, {"factor -1.5", "1e+06"}));
  CHECK(refused([](up& c) { c.factor = 0; }, {"factor 0"}));
  CHECK(refused([=](up& c) { c.factor = nan; }, {"factor nan"}));
  CHECK(refused([](up& c) { c.factor = HUGE_VALF; }, {"factor inf"}));
  CHECK(refused([](up& c) { c.eval_factor = -2.5f; }, {"factor -2.5", "evaluation"}));
  CHECK(refused([](up& c) { c.eval_factor = 0.0f; }, {"factor 0", "evaluation"}));
  CHECK(refused([=](up& c) { c.eval_factor = nan; }, {"factor nan", "evaluation"}));
  CHECK(refused([](up& c) { c.absolute = -3; }, {"absolute is -3"}));
  CHECK(refused([](up& c) { c.eval_absolute = -5; }, {"absolute is -5", "evaluation"}));
  CHECK(refused([](up& c) { c.multiple_of = 0; }, {"multiple_of is 0"}));
  CHECK(refused([](up& c) { c.multiple_of = -4; }, {"multiple_of is -4"}));
  CHECK(refused([](up& c) { c.multiple_of = index{1} << 33; }, {"8589934592", "1048576"}));
  CHECK_NOTHROW(up{.factor = 1e6f, .eval_factor = 1e6f, .absolute = 0, .multiple_of = index{1} << 20}.validate());
}

TEST_CASE("evaluation has its own factor when one is given") {
  up c = with_factor<up>(1.0f);
  CHECK(c.slots({96, 8, 2, false}) == 24);
  c.eval_factor = 2.0f;
  CHECK(c.slots({96, 8, 2, true}) == 24);
  CHECK(c.slots({96, 8, 2, false}) == 48);
}

TEST_CASE("no units, no slots") {
  CHECK(up{}.slots({0, 8, 2, true}) == 0);
  CHECK(capacity::unlimited{}.slots({0, 8, 2, true}) == 0);
}

}  // namespace moe_test
