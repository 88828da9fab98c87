// nn::pool2d and nn::pixels: the module contract, closed forms, ties, borders, messages.
// with: convolutions
#include <doctest/doctest.h>

#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/pixels.hpp>
#include <polymoe/nn/pool2d.hpp>
#include <polymoe/nn/sequential.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using pool = nn::pool2d<T>;
template <class T>
using pixels = nn::pixels<T>;

TEST_CASE("pool2d keeps the module contract") {
  for (const auto kind : {nn::pool2d_kind::max, nn::pool2d_kind::mean})
    for (const auto& [channels, height, width, kernel, stride, padding] :
         {std::array<index, 6>{5, 6, 4, 2, 0, 0}, {70, 7, 6, 3, 2, 1}, {3, 5, 5, 2, 3, 0}, {4, 5, 4, 3, 1, 1}}) {
      CAPTURE(channels);
      CAPTURE(static_cast<int>(kind));
      // The inputs are rounded to bf16: among many windows some have two largest numbers, where there is no derivative.
      const index few = kind == nn::pool2d_kind::max ? std::min<index>(channels, 3) : channels;
      testing::check_options o{.rows = 2 * height * width, .seed = 3};
      testing::check_module<pool>([&, c = few, h = height, w = width, k = kernel, s = stride, p = padding](
                                      auto t) { return typename pool<decltype(t)>::config{c, h, w, k, s, p, kind}; },
                                  o, height * width);
    }
}

TEST_CASE("pool2d takes the largest, ties to the first, or the mean of a window") {
  double x[9] = {1, 5, 2, 5, 4, 0, -3, -3, -9}, y[4], dy[4] = {1, 10, 100, 1000}, dx[9];
  workspace<nn::pool2d<double>> max(nn::pool2d<double>({1, 3, 3, 2, 1}), {.max_rows = 9});
  max.forward({x, 9, 1}, {y, 4, 1});
  CHECK(y[0] == 5);
  CHECK(y[1] == 5);
  CHECK(y[2] == 5);
  CHECK(y[3] == 4);
  max.backward({dy, 4, 1}, {dx, 9, 1});
  CHECK(dx[1] == 11);
  CHECK(dx[3] == 100);
  CHECK(dx[4] == 1000);
  CHECK(dx[0] + dx[2] + dx[5] + dx[6] + dx[7] + dx[8] == 0);
  // Over the border nothing counts for the largest, zeros count for the mean.
  double z[9], m[4];
  for (double& v : z) v = -2;
  workspace<nn::pool2d<double>> border(nn::pool2d<double>({1, 3, 3, 2, 2, 1}), {.max_rows = 9});
  border.forward({z, 9, 1}, {m, 4, 1});
  for (const double v : m) CHECK(v == -2);
  workspace<nn::pool2d<double>> mean(nn::pool2d<double>({1, 3, 3, 2, 2, 1, nn::pool2d_kind::mean}), {.max_rows = 9});
  mean.forward({z, 9, 1}, {m, 4, 1});
  CHECK(m[0] == -0.5);
  CHECK(m[1] == -1);
  CHECK(m[3] == -2);
  x[4] = std::nan("");
  max.forward({x, 9, 1}, {y, 4, 1});
  for (const double v : y) CHECK(std::isnan(v));
}

TEST_CASE("pool2d gives a gradient to the pixel it took, for many channels") {
  // Windows of 3 that overlap; every number is its own, so there are no ties.
  const index C = 70, H = 7, W = 6, images = 2;
  workspace<nn::pool2d<double>> w(nn::pool2d<double>({C, H, W, 3, 2, 1}), {.max_rows = images * H * W, .threads = 2});
  const index down = w.module().settings().out_height(), across = w.module().settings().out_width();
  REQUIRE(down * across == 4 * 3);
  std::vector<double> x(images * H * W * C), dx(x.size()), want(x.size());
  std::vector<double> y(images * down * across * C), dy(y.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i * 7919 % x.size());
  for (std::size_t i = 0; i < dy.size(); ++i) dy[i] = std::cos(static_cast<double>(i));
  w.forward({x.data(), images * H * W, C}, {y.data(), images * down * across, C});
  w.backward({dy.data(), images * down * across, C}, {dx.data(), images * H * W, C});
  for (index image = 0; image < images; ++image)
    for (index i = 0; i < down; ++i)
      for (index j = 0; j < across; ++j)
        for (index c = 0; c < C; ++c) {
          index best = -1;
          for (index h = std::max<index>(2 * i - 1, 0); h < std::min(2 * i + 2, H); ++h)
            for (index v = std::max<index>(2 * j - 1, 0); v < std::min(2 * j + 2, W); ++v) {
              const index at = ((image * H + h) * W + v) * C + c;
              if (best < 0 || x[static_cast<std::size_t>(at)] > x[static_cast<std::size_t>(best)]) best = at;
            }
          const auto out = static_cast<std::size_t>(((image * down + i) * across + j) * C + c);
          REQUIRE(y[out] == x[static_cast<std::size_t>(best)]);
          want[static_cast<std::size_t>(best)] += dy[out];
        }
  for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(dx[i] == doctest::Approx(want[i]));
}

TEST_CASE("pixels turns planes into rows of channels") {
  testing::check_module<pixels>([](auto t) { return typename pixels<decltype(t)>::config{3, 4, 5}; }, {.rows = 3});
  double x[8] = {1, 2, 3, 4, 10, 20, 30, 40}, y[8];
  workspace<nn::pixels<double>> w(nn::pixels<double>({2, 2, 2}), {.max_rows = 1});
  w.forward({x, 1, 8}, {y, 4, 2});
  CHECK(y[0] == 1);
  CHECK(y[1] == 10);
  CHECK(y[6] == 4);
  CHECK(y[7] == 40);
}

template <class T>
using stem = nn::sequential<nn::pixels<T>, nn::linear<T>, nn::pool2d<T>>;
template <class T>
using stem_alone = nn::sequential<nn::pixels<T>, nn::linear<T>>;

TEST_CASE("a network that begins with pixels has the same parameter gradients with and without an input gradient") {
  const auto head = [](auto t) {
    using S = stem<decltype(t)>;
    return typename S::config{{{3, 4, 6}, {3, 5}, {5, 4, 6, 2, 0, 0, nn::pool2d_kind::mean}}};
  };
  testing::check_module<stem>(head, {.rows = 3});
  testing::check_module<stem_alone>(
      [](auto t) {
        return typename stem_alone<decltype(t)>::config{{{3, 4, 6}, {3, 5}}};
      },
      {.rows = 3});
}

TEST_CASE("pool2d refuses what does not fit, with both numbers") {
  CHECK_THROWS_WITH_AS(nn::pool2d<float>({1, 2, 2, 3}), doctest::Contains("kernel of 3 does not fit a map of 2 x 2"),
                       error);
  CHECK_THROWS_WITH_AS(nn::pool2d<float>({1, 8, 8, 3, 1, 2}), doctest::Contains("padding 2 is more than half"), error);
  CHECK_THROWS_WITH_AS(nn::pool2d<float>({1, 32, 32, 16}), doctest::Contains("kernel of 16"), error);
  workspace<nn::pool2d<float>> w(nn::pool2d<float>({1, 2, 2}), {.max_rows = 4});
  float x[8] = {}, y[8] = {};
  CHECK_THROWS_WITH_AS(w.forward({x, 8, 1}, {y, 2, 1}), doctest::Contains("memory was bound for 1"), error);
}

}  // namespace
}  // namespace polymoe
