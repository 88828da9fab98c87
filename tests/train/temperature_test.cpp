// Temperature schedules at their corners, and the stop at an entropy floor.
// sanitize: yes
// with: rules
#include <doctest/doctest.h>

#include <polymoe/train/temperature.hpp>

namespace polymoe {
namespace {

using temperature_shape = temperature_schedule::shape;

TEST_CASE("constant, linear and sigmoid start and end where they say, and never rise") {
  for (const temperature_shape how :
       {temperature_shape::constant, temperature_shape::linear, temperature_shape::sigmoid}) {
    const temperature_schedule s{.how = how, .start = 2.0, .least = 0.1, .total = 50};
    CHECK(s(0) == doctest::Approx(2.0).epsilon(1e-12));
    CHECK(s(50) == doctest::Approx(how == temperature_shape::constant ? 2.0 : 0.1).epsilon(1e-12));
    CHECK(s(1000) == s(50));
    for (index t = 0; t < 60; ++t) CHECK(s(t + 1) <= s(t));
  }
}

TEST_CASE("half way linear and sigmoid meet; before it the sigmoid is hotter, after it colder") {
  const temperature_schedule line{.how = temperature_shape::linear, .start = 1.0, .least = 0.2, .total = 100};
  temperature_schedule curve = line;
  curve.how = temperature_shape::sigmoid;
  CHECK(line(25) == doctest::Approx(0.8));
  CHECK(curve(50) == doctest::Approx(0.6));
  CHECK(curve(25) > line(25));
  CHECK(curve(75) < line(75));
  // 1 / (1 + e^-2.5), shifted so that the ends are exact.
  const double at = 1 / (1 + std::exp(-2.5)), end = 1 / (1 + std::exp(5.0));
  CHECK(curve(25) == doctest::Approx(0.2 + 0.8 * (at - end) / (1 - 2 * end)).epsilon(1e-12));
}

TEST_CASE("the descent stops at the first entropy below the floor, and a checkpoint keeps it stopped") {
  temperature_annealing a(
      {.how = temperature_shape::linear, .start = 1.0, .least = 0.1, .total = 90, .entropy_floor = 0.5});
  a.observe(10, 0.7);
  CHECK(a.held() == 0);
  a.observe(20, 0.49);
  CHECK(a.held() == doctest::Approx(0.8));
  CHECK(a.held_at() == 20);
  a.observe(30, 0.1);
  CHECK(a.held_at() == 20);
  CHECK(a(90) == a.held());
  CHECK(a(5) > a.held());
  temperature_annealing b(a.schedule());
  CHECK(b(90) == doctest::Approx(0.1));
  b.restore(a.held(), a.held_at());
  CHECK(b(90) == a(90));
  CHECK_THROWS_AS(b.restore(3.0, 4), error);
  // Without a floor nothing is observed, and NaN stops nothing.
  temperature_annealing c({.how = temperature_shape::linear, .start = 1.0, .least = 0.1, .total = 90});
  c.observe(20, -1.0);
  CHECK(c(90) == doctest::Approx(0.1));
  a = temperature_annealing(
      {.how = temperature_shape::linear, .start = 1.0, .least = 0.1, .total = 90, .entropy_floor = 0.5});
  a.observe(20, std::nan(""));
  CHECK(a.held() == 0);
}

TEST_CASE(
    "a loop that looks late: the entropy of step s decides at step s + lag, however many steps were read together") {
  const temperature_schedule s{.how = temperature_shape::linear,
                               .start = 1.0,
                               .least = 0.1,
                               .total = 90,
                               .entropy_floor = 0.5,
                               .entropy_lag = 5};
  const auto entropy = [](index step) { return 1.0 - 0.03 * static_cast<double>(step); };  // below 0.5 first at step 17
  std::vector<double> want;
  for (index step = 0; step < 60; ++step) want.push_back(step < 17 + 5 ? s(step) : std::max(s(step), s(17)));
  for (const index chunk : {1, 2, 5}) {
    temperature_control c(s);
    CHECK(c.ahead() == 5);
    for (index first = 0; first < 60; first += chunk) {
      for (index i = first; i < first + chunk; ++i) CHECK(c(i) == want[static_cast<std::size_t>(i)]);
      for (index i = first; i < first + chunk; ++i) c.record(i, entropy(i));
      CHECK(c.at(first) == want[static_cast<std::size_t>(first)]);
      // From a checkpoint, in the middle of what has not been looked at.
      temperature_control later(s);
      later.restore(c.packed());
      CHECK(later.at(first) == c.at(first));
      c = later;
    }
    CHECK(c.annealing().held_at() == 17);
  }
  temperature_control free({.how = temperature_shape::linear, .start = 1.0, .least = 0.1, .total = 90});
  CHECK((free.ahead() == 0 && free.packed().empty() && free(90) == doctest::Approx(0.1)));
  temperature_control c(s);
  CHECK_THROWS_AS(c.restore({0.0}), error);
  std::vector<double> wrong = c.packed();
  wrong[0] = 7;
  CHECK_THROWS_AS(c.restore(wrong), error);
  wrong = c.packed(), wrong[1] = 0.5;
  CHECK_THROWS_AS(c.restore(wrong), error);
}

TEST_CASE("impossible schedules are refused with both numbers") {
  using s = temperature_schedule;
  CHECK_THROWS_WITH_AS(temperature_annealing(s{.start = 0.2, .least = 0.3}),
                       "temperature: it goes from 0.2 to 0.3, both must be positive and the second at most the first",
                       error);
  CHECK_THROWS_AS(temperature_annealing(s{.start = 1, .least = 0}), error);
  CHECK_THROWS_AS(temperature_annealing(s{.total = 0}), error);
  CHECK_THROWS_AS(temperature_annealing(s{.how = temperature_shape::sigmoid, .steepness = 0}), error);
  CHECK_THROWS_AS(temperature_annealing(s{.entropy_floor = -1}), error);
  CHECK_THROWS_AS((s{.how = temperature_shape::linear})(-1), error);
}

}  // namespace
}  // namespace polymoe
