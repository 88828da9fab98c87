// nn::batch_norm: the module contract, running statistics as state, commit, evaluation, messages.
// with: convolutions
#include <doctest/doctest.h>

#include <polymoe/nn/batch_norm.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using norm = nn::batch_norm<T>;

TEST_CASE("batch_norm keeps the module contract, in training and in evaluation") {
  for (const auto mode : {run_mode::train, run_mode::eval})
    for (const auto& [channels, rows] : {std::array<index, 2>{5, 9}, {70, 600}, {3, 257}}) {
      CAPTURE(channels);
      CAPTURE(static_cast<int>(mode));
      testing::check_module<norm>([=, c = channels](auto t) { return typename norm<decltype(t)>::config{c}; },
                                  {.rows = rows, .param_scale = 1, .mode = mode});
    }
}

TEST_CASE("batch_norm centres and scales each column; running statistics change at commit only") {
  workspace<nn::batch_norm<double>> w(nn::batch_norm<double>({2, 0.5, 0.25}), {.max_rows = 4});
  double x[8] = {1, 10, 2, 10, 3, 10, 6, 10}, y[8];
  w.forward({x, 4, 2}, {y, 4, 2});
  for (int i = 0; i < 4; ++i) {
    CHECK(y[2 * i] == doctest::Approx((x[2 * i] - 3) / std::sqrt(3.5 + 0.5)));  // variance (4 + 1 + 0 + 9) / 4
    CHECK(y[2 * i + 1] == doctest::Approx(0));
  }
  REQUIRE(w.state_entries().size() == 3);
  CHECK(w.state_entries()[0].name == "running_mean");
  CHECK(w.state_entries()[1].name == "running_var");
  const auto running = [&](int entry, int k) {
    return w.state()[static_cast<std::size_t>(w.state_entries()[static_cast<std::size_t>(entry)].offset + k)];
  };
  CHECK(running(0, 0) == 0);
  CHECK(running(1, 0) == 1);
  // A second micro-batch: the commit takes the mean of both.
  double z[8] = {5, 0, 5, 0, 5, 0, 5, 0};
  w.forward({z, 4, 2}, {y, 4, 2});
  w.module().commit(w.ctx());
  CHECK(running(0, 0) == doctest::Approx(0.25 * (3 + 5) / 2));
  CHECK(running(0, 1) == doctest::Approx(0.25 * (10 + 0) / 2));
  CHECK(running(1, 0) == doctest::Approx(0.75 + 0.25 * (14.0 / 3 + 0) / 2));  // PyTorch divides by rows - 1
  CHECK(running(1, 1) == doctest::Approx(0.75));
  w.module().commit(w.ctx());  // nothing was found since
  CHECK(running(0, 0) == doctest::Approx(1));
  w.ctx().mode = run_mode::eval;
  w.forward({x, 4, 2}, {y, 4, 2});
  CHECK(y[6] == doctest::Approx((6 - 1) / std::sqrt(0.75 + 0.25 * 7.0 / 3 + 0.5)));
  w.module().commit(w.ctx());
  CHECK(running(0, 0) == doctest::Approx(1));
}

TEST_CASE("batch_norm in float survives a large common offset") {
  workspace<nn::batch_norm<float>> w(nn::batch_norm<float>({3, 0}), {.max_rows = 2000});
  std::vector<float> x(6000), y(6000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 1000.0f + (i / 3 % 2 ? 1.0f : -1.0f);
  w.forward({x.data(), 2000, 3}, {y.data(), 2000, 3});
  for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(y[i] == doctest::Approx(i / 3 % 2 ? 1 : -1).epsilon(1e-3));
}

TEST_CASE("batch_norm refuses what does not fit") {
  CHECK_THROWS_AS(nn::batch_norm<float>({0}), error);
  CHECK_THROWS_WITH_AS(nn::batch_norm<float>({2, 1e-5, 1.5}), doctest::Contains("momentum 1.5"), error);
}

}  // namespace
}  // namespace polymoe
