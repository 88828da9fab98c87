// nn::layer_norm: the module contract and the definition.
// with: convolutions
#include <doctest/doctest.h>

#include <polymoe/nn/layer_norm.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using row_norm = nn::layer_norm<T>;

TEST_CASE("layer_norm keeps the module contract") {
  for (const auto& [dim, rows] : {std::array<index, 2>{7, 5}, {64, 300}, {19, 600}}) {
    CAPTURE(dim);
    testing::check_module<row_norm>(
        [=](auto t) {
          return typename row_norm<decltype(t)>::config{dim, 1e-5};
        },
        {.rows = rows, .param_scale = 1});
  }
}

TEST_CASE("layer_norm centres and scales each row") {
  workspace<nn::layer_norm<double>> w(nn::layer_norm<double>({4, 0.5}), {.max_rows = 2});
  double x[8] = {1, 2, 3, 6, -5, -5, -5, -5}, y[8];
  w.forward({x, 2, 4}, {y, 2, 4});
  const double scale = 1 / std::sqrt(3.5 + 0.5);  // mean 3, variance (4 + 1 + 0 + 9) / 4
  for (int i = 0; i < 4; ++i) CHECK(y[i] == doctest::Approx((x[i] - 3) * scale));
  for (int i = 4; i < 8; ++i) CHECK(y[i] == 0);
  CHECK(w.entries()[0].name == "weight");
  CHECK(w.entries()[0].decays == decay::no);
}

TEST_CASE("layer_norm in float survives a large common offset") {
  // The variance is that of differences from the mean, so an offset of 1000 costs digits of x, not of x^2.
  const index dim = 256;
  workspace<nn::layer_norm<float>> w(nn::layer_norm<float>({dim, 0}), {.max_rows = 1});
  std::vector<float> x(dim), y(dim);
  for (index i = 0; i < dim; ++i) x[static_cast<std::size_t>(i)] = 1000.0f + (i % 2 ? 1.0f : -1.0f);
  w.forward({x.data(), 1, dim}, {y.data(), 1, dim});
  for (index i = 0; i < dim; ++i)
    CHECK(y[static_cast<std::size_t>(i)] == doctest::Approx(i % 2 ? 1 : -1).epsilon(1e-3));
}

}  // namespace
}  // namespace polymoe
