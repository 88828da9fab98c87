// nn::linear: the module contract, a product by hand, names, messages, cost.
// with: parts
#include <doctest/doctest.h>

#include <polymoe/nn/linear.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using linear = nn::linear<T>;

TEST_CASE("linear keeps the module contract") {
  for (const auto& [in, out, rows] : {std::array<index, 3>{5, 7, 9}, {16, 10, 300}, {1, 1, 1}}) {
    CAPTURE(in);
    CAPTURE(out);
    CAPTURE(rows);
    const auto config = [=](auto t) { return typename linear<decltype(t)>::config{in, out}; };
    const auto report = testing::check_module<linear>(config, {.rows = rows});
    CHECK(report.param_gradient < 1e-8);
  }
}

TEST_CASE("linear splits the rows of a weight gradient") {
  // 4200 rows are cut into two ranges whose partial sums are added; against a sum by hand.
  const index rows = 4200, in = 3, out = 2;
  workspace<nn::linear<double>> w(nn::linear<double>({in, out}), {.max_rows = rows, .threads = 2});
  std::vector<double> x(rows * in), dy(rows * out), y(rows * out);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.1 * static_cast<double>(i));
  for (std::size_t i = 0; i < dy.size(); ++i) dy[i] = std::cos(0.3 * static_cast<double>(i));
  w.forward({x.data(), rows, in}, {y.data(), rows, out});
  w.backward({dy.data(), rows, out}, {});
  for (index o = 0; o < out; ++o) {
    double bias = 0;
    for (index r = 0; r < rows; ++r) bias += dy[static_cast<std::size_t>(r * out + o)];
    CHECK(w.grads().get(0, w.entries()[1].offset + o) == doctest::Approx(bias));
    for (index k = 0; k < in; ++k) {
      double sum = 0;
      for (index r = 0; r < rows; ++r)
        sum += dy[static_cast<std::size_t>(r * out + o)] * x[static_cast<std::size_t>(r * in + k)];
      CHECK(w.grads().get(0, o * in + k) == doctest::Approx(sum));
    }
  }
}

TEST_CASE("linear has PyTorch names, first values and a closed form") {
  workspace<nn::linear<double>> w(nn::linear<double>({2, 3}), {.max_rows = 4, .seed = 5});
  REQUIRE(w.entries().size() == 2);
  CHECK(w.entries()[0].name == "weight");
  CHECK(w.entries()[0].dims == std::vector<index>{3, 2});
  CHECK(w.entries()[1].name == "bias");
  CHECK(w.entries()[1].decays == decay::no);
  for (index i = 0; i < 6; ++i) CHECK(std::abs(w.values().get(0, i)) <= 1 / std::sqrt(2.0));

  const double weight[6] = {1, 2, 3, 4, 5, 6}, bias[3] = {0.5, -0.5, 1};
  std::copy_n(weight, 6, w.values().ptr[0] + w.entries()[0].offset);
  std::copy_n(bias, 3, w.values().ptr[0] + w.entries()[1].offset);
  w.refresh();
  double x[2] = {10, 1}, y[3], dy[3] = {1, 0, 2}, dx[2];
  w.forward({x, 1, 2}, {y, 1, 3});
  CHECK(y[0] == 12.5);
  CHECK(y[1] == 33.5);
  CHECK(y[2] == 57);
  w.backward({dy, 1, 3}, {dx, 1, 2});
  CHECK(dx[0] == 11);
  CHECK(dx[1] == 14);
  CHECK(w.grads().get(0, 0) == 10);
  CHECK(w.grads().get(0, 5) == 2);
}

TEST_CASE("linear refuses wrong shapes with both numbers") {
  workspace<nn::linear<float>> w(nn::linear<float>({4, 3}), {.max_rows = 4});
  float x[20] = {}, y[12] = {};
  CHECK_THROWS_WITH_AS(w.forward({x, 4, 5}, {y, 4, 3}), doctest::Contains("built for width 4"), error);
  CHECK_THROWS_WITH_AS(w.forward({x, 4, 4}, {y, 3, 3}), doctest::Contains("[4, 3]"), error);
  CHECK_THROWS_AS(nn::linear<float>({0, 3}), error);
}

TEST_CASE("cost of a linear layer is known at compile time") {
  static_assert(nn::linear<float>::count({10, 20}, 3).macs == 600);
  static_assert(nn::linear<float>::count({10, 20}, 3).params == 220);
  static_assert(nn::linear<float>::count({10, 20, false}, 3).params == 200);
  CHECK(nn::linear<float>::count({10, 20}, 3).flops() == 1200);
}

}  // namespace
}  // namespace polymoe
