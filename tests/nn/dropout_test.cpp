// nn::dropout: the module contract, the share of zeros, the same mask in backward, another one in another step.
// thread: yes
// with: parts
#include <doctest/doctest.h>

#include <polymoe/nn/dropout.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using dropout = nn::dropout<T>;

TEST_CASE("dropout keeps the module contract") {
  testing::check_module<dropout>([](auto t) { return typename dropout<decltype(t)>::config{13, 0.3}; }, {.rows = 40});
}

TEST_CASE("dropout zeroes a share p and scales the rest") {
  const index rows = 400, dim = 101;
  workspace<nn::dropout<float>> w(nn::dropout<float>({dim, 0.25}), {.max_rows = rows, .seed = 9});
  std::vector<float> x(rows * dim, 3.0f), y(x.size()), dx(x.size()), other(x.size());
  w.forward({x.data(), rows, dim}, {y.data(), rows, dim});
  w.backward({x.data(), rows, dim}, {dx.data(), rows, dim});
  double zeros = 0;
  for (const float v : y) {
    CHECK((v == 0.0f || v == 4.0f));
    zeros += v == 0.0f;
  }
  const double n = static_cast<double>(y.size()), sigma = std::sqrt(n * 0.25 * 0.75);
  CHECK(std::abs(zeros - 0.25 * n) < 5 * sigma);
  CHECK(y == dx);
  w.step().step = 1;
  w.forward({x.data(), rows, dim}, {other.data(), rows, dim});
  CHECK(y != other);
  w.ctx().mode = run_mode::eval;
  w.forward({x.data(), rows, dim}, {y.data(), rows, dim});
  CHECK(x == y);
  CHECK_THROWS_WITH_AS(nn::dropout<float>({4, 1.0}), doctest::Contains("p = 1"), error);
}

}  // namespace
}  // namespace polymoe
