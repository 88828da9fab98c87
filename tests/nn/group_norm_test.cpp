// nn::group_norm: the module contract, the definition, large offsets, messages.
// with: convolutions
#include <doctest/doctest.h>

#include <polymoe/nn/group_norm.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using grouped_norm = nn::group_norm<T>;

TEST_CASE("group_norm keeps the module contract") {
  for (const auto& [channels, groups, pixels, images] :
       {std::array<index, 4>{6, 3, 5, 3}, {7, 7, 4, 2}, {40, 1, 9, 2}, {32, 8, 16, 5}}) {
    CAPTURE(channels);
    CAPTURE(groups);
    testing::check_module<grouped_norm>(
        [=](auto t) {
          return typename grouped_norm<decltype(t)>::config{channels, groups, pixels};
        },
        {.rows = images * pixels, .param_scale = 1}, pixels);
  }
}

TEST_CASE("group_norm centres and scales the groups of each image") {
  // One image of two pixels, four channels in two groups: (1 2 3 6) and (-5 -5 -5 -5).
  workspace<nn::group_norm<double>> w(nn::group_norm<double>({4, 2, 2, 0.5}), {.max_rows = 4});
  double x[16] = {1, 2, -5, -5, 3, 6, -5, -5, 0, 0, 0, 0, 0, 0, 0, 8}, y[16];
  w.forward({x, 4, 4}, {y, 4, 4});
  const double scale = 1 / std::sqrt(3.5 + 0.5);  // mean 3, variance (4 + 1 + 0 + 9) / 4
  CHECK(y[0] == doctest::Approx((1 - 3) * scale));
  CHECK(y[1] == doctest::Approx((2 - 3) * scale));
  CHECK(y[4] == doctest::Approx(0));
  CHECK(y[5] == doctest::Approx((6 - 3) * scale));
  for (const int i : {2, 3, 6, 7, 8, 9, 12, 13}) CHECK(y[i] == 0);
  CHECK(y[15] == doctest::Approx((8 - 2) / std::sqrt(12.5)));  // mean 2, variance (4 + 4 + 4 + 36) / 4
  CHECK(w.entries()[0].name == "weight");
  CHECK(w.entries()[0].decays == decay::no);
}

TEST_CASE("group_norm in float survives a large common offset") {
  workspace<nn::group_norm<float>> w(nn::group_norm<float>({16, 2, 8, 0}), {.max_rows = 8});
  std::vector<float> x(128), y(128);
  for (std::size_t i = 0; i < 128; ++i) x[i] = 1000.0f + (i % 2 ? 1.0f : -1.0f);
  w.forward({x.data(), 8, 16}, {y.data(), 8, 16});
  for (std::size_t i = 0; i < 128; ++i) CHECK(y[i] == doctest::Approx(i % 2 ? 1 : -1).epsilon(1e-3));
}

TEST_CASE("group_norm refuses what does not fit, with both numbers") {
  CHECK_THROWS_WITH_AS(nn::group_norm<float>({10, 4, 9}), doctest::Contains("10 channels do not fall into 4"), error);
  CHECK_THROWS_AS(nn::group_norm<float>({0, 1, 1}), error);
  workspace<nn::group_norm<float>> w(nn::group_norm<float>({2, 1, 3}), {.max_rows = 6});
  float x[8] = {}, y[8] = {};
  CHECK_THROWS_WITH_AS(w.forward({x, 4, 2}, {y, 4, 2}), doctest::Contains("4 rows are no whole number of images"),
                       error);
}

}  // namespace
}  // namespace polymoe
