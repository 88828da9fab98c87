// Learning-rate schedules at their corners.
// with: rules
#include <doctest/doctest.h>

#include <polymoe/train/schedule.hpp>

namespace polymoe {
namespace {

using shape = learning_rate_schedule::shape;

TEST_CASE("warm-up rises from peak / warmup to the peak") {
  const learning_rate_schedule s{.how = shape::cosine, .peak = 2.0, .total = 100, .warmup = 10};
  CHECK(s(0) == doctest::Approx(0.2));
  CHECK(s(4) == doctest::Approx(1.0));
  CHECK(s(9) == doctest::Approx(2.0));
  CHECK(s(10) == doctest::Approx(2.0));
}

TEST_CASE("cosine and linear go from the peak to the floor") {
  learning_rate_schedule s{.how = shape::cosine, .peak = 2.0, .total = 110, .warmup = 10, .floor = 0.5};
  CHECK(s(60) == doctest::Approx(1.25));                                    // half way
  CHECK(s(35) == doctest::Approx(0.5 + 1.5 * 0.5 * (1 + std::sqrt(0.5))));  // a quarter: cos 45 degrees
  CHECK(s(109) > 0.5);
  CHECK(s(110) == doctest::Approx(0.5));
  CHECK(s(1000) == doctest::Approx(0.5));
  s.how = shape::linear;
  CHECK(s(60) == doctest::Approx(1.25));
  CHECK(s(35) == doctest::Approx(1.625));
  CHECK(s(110) == doctest::Approx(0.5));
  CHECK(s(111) == doctest::Approx(0.5));
}

TEST_CASE("constant stays, steps fall at their milestones") {
  learning_rate_schedule s{.how = shape::constant, .peak = 3.0, .total = 10};
  CHECK(s(0) == 3.0);
  CHECK(s(100) == 3.0);
  s.how = shape::steps, s.milestones = {4, 8}, s.gamma = 0.5, s.warmup = 2;
  CHECK(s(0) == 1.5);
  CHECK(s(3) == 3.0);
  CHECK(s(4) == 1.5);
  CHECK(s(7) == 1.5);
  CHECK(s(8) == 0.75);
  CHECK(s(99) == 0.75);
}

TEST_CASE("schedules without room after warm-up, and bad arguments") {
  const learning_rate_schedule all_warmup{.how = shape::cosine, .peak = 1.0, .total = 5, .warmup = 5, .floor = 0.1};
  CHECK(all_warmup(4) == 1.0);
  CHECK(all_warmup(5) == doctest::Approx(0.1));
  CHECK_THROWS_AS(all_warmup(-1), error);
  CHECK_THROWS_AS((learning_rate_schedule{.total = 0}(0)), error);
}

}  // namespace
}  // namespace polymoe
