// nn::mlp_block: the module contract, and agreement with linear, activation, linear.
// with: blocks
#include <doctest/doctest.h>

#include <polymoe/nn/mlp_block.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using mlp = nn::mlp_block<T, act::gelu_tanh>;

TEST_CASE("mlp_block keeps the module contract") {
  for (const auto& [dim, hidden, rows] : {std::array<index, 3>{6, 10, 9}, {32, 48, 600}}) {
    CAPTURE(dim);
    testing::check_module<mlp>([=](auto t) { return typename mlp<decltype(t)>::config{dim, hidden}; }, {.rows = rows});
  }
}

TEST_CASE("mlp_block is W2 act(W1 x + b1) + b2") {
  const index dim = 3, hidden = 5;
  workspace<nn::mlp_block<double, act::relu>> w(nn::mlp_block<double, act::relu>({dim, hidden}), {.max_rows = 1});
  REQUIRE(w.entries().size() == 4);
  CHECK(w.entries()[0].name == "fc1.weight");
  CHECK(w.entries()[3].name == "fc2.bias");
  for (const int bias : {1, 3}) {
    const auto& e = w.entries()[static_cast<std::size_t>(bias)];
    for (index i = 0; i < e.size; ++i) w.values().ptr[0][e.offset + i] = 0.1 * static_cast<double>(i);
  }
  w.refresh();
  const auto p = [&](std::size_t e, index i) { return w.values().ptr[0][w.entries()[e].offset + i]; };
  double x[dim] = {0.3, -1, 2}, y[dim];
  w.forward({x, 1, dim}, {y, 1, dim});
  for (index o = 0; o < dim; ++o) {
    double s = p(3, o);
    for (index h = 0; h < hidden; ++h) {
      double z = p(1, h);
      for (index k = 0; k < dim; ++k) z += p(0, h * dim + k) * x[k];
      s += p(2, o * hidden + h) * std::max(z, 0.0);
    }
    CHECK(y[o] == doctest::Approx(s).epsilon(1e-12));
  }
}

}  // namespace
}  // namespace polymoe
