// nn::conv2d: the module contract with strides, padding, kernels and depthwise, the definition, names, messages, cost.
// with: convolutions
#include <doctest/doctest.h>

#include <polymoe/nn/conv2d.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using conv = nn::conv2d<T>;

struct sizes {
  index in, out, height, width, kernel, stride, padding;
  bool bias, depthwise;
  index images;
};
std::ostream& operator<<(std::ostream& s, const sizes& z) {
  return s << z.in << " to " << z.out << ", " << z.height << " x " << z.width << ", kernel " << z.kernel << ", stride "
           << z.stride << ", padding " << z.padding << (z.depthwise ? ", depthwise" : "") << ", images " << z.images;
}
template <class T>
typename conv<T>::config config_of(const sizes& z) {
  return {z.in, z.out, z.height, z.width, z.kernel, z.stride, z.padding, z.bias, z.depthwise};
}

TEST_CASE("conv2d keeps the module contract") {
  for (const sizes& z : {sizes{3, 5, 6, 5, 3, 1, 1, true, false, 2},
                         {4, 6, 7, 5, 3, 2, 1, false, false, 3},
                         {5, 4, 4, 4, 1, 1, 0, true, false, 5},
                         {4, 3, 5, 6, 1, 2, 0, true, false, 2},
                         {2, 3, 9, 8, 5, 3, 2, true, false, 1},
                         {16, 16, 8, 8, 3, 1, 1, true, false, 21}}) {
    CAPTURE(z);
    testing::check_module<conv>([&](auto t) { return config_of<decltype(t)>(z); },
                                {.rows = z.images * z.height * z.width, .gaps = false}, z.height * z.width);
  }
}

TEST_CASE("depthwise conv2d keeps the module contract") {
  for (const sizes& z : {sizes{5, 5, 6, 5, 3, 1, 1, true, true, 3},
                         {32, 32, 5, 5, 3, 1, 1, false, true, 6},
                         {7, 7, 8, 9, 3, 2, 1, true, true, 2},
                         {6, 6, 9, 9, 7, 1, 3, true, true, 2}}) {
    CAPTURE(z);
    testing::check_module<conv>([&](auto t) { return config_of<decltype(t)>(z); },
                                {.rows = z.images * z.height * z.width, .gaps = false}, z.height * z.width);
  }
}

TEST_CASE("conv2d is the sum over windows") {
  for (const bool depthwise : {false, true}) {
    CAPTURE(depthwise);
    const index in = 3, out = depthwise ? 3 : 4, H = 6, W = 5, images = 2;
    const nn::conv2d<double>::config c{in, out, H, W, 3, 2, 1, true, depthwise};
    workspace<nn::conv2d<double>> w(nn::conv2d<double>(c), {.max_rows = images * H * W, .seed = 7});
    CHECK(w.entries()[0].name == "weight");
    CHECK(w.entries()[0].dims == std::vector<index>{out, depthwise ? 1 : in, 3, 3});
    CHECK(w.entries()[1].name == "bias");
    CHECK(w.entries()[1].decays == decay::no);
    const index down = c.out_height(), across = c.out_width();
    REQUIRE(down == 3);
    REQUIRE(across == 3);
    std::vector<double> x(images * H * W * in), y(images * down * across * out);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i));
    w.forward({x.data(), images * H * W, in}, {y.data(), images * down * across, out});
    const double* weight = w.values().ptr[0] + w.entries()[0].offset;
    const double* bias = w.values().ptr[0] + w.entries()[1].offset;
    for (index image = 0; image < images; ++image)
      for (index i = 0; i < down; ++i)
        for (index j = 0; j < across; ++j)
          for (index o = 0; o < out; ++o) {
            double s = bias[o];
            for (index ch = 0; ch < in; ++ch)
              for (index a = 0; a < 3; ++a)
                for (index b = 0; b < 3; ++b) {
                  const index h = 2 * i - 1 + a, v = 2 * j - 1 + b;
                  if (h < 0 || h >= H || v < 0 || v >= W || (depthwise && ch != o)) continue;
                  s += weight[((depthwise ? o : o * in + ch) * 3 + a) * 3 + b] * x[((image * H + h) * W + v) * in + ch];
                }
            CHECK(y[((image * down + i) * across + j) * out + o] == doctest::Approx(s).epsilon(1e-12));
          }
  }
}

TEST_CASE("conv2d in float and bf16 agrees with double where weight gradients are cut into ranges of images") {
  const auto sizes_of = [](auto t) { return typename conv<decltype(t)>::config{8, 24, 16, 16, 3, 1, 1}; };
  const testing::check_options o{.rows = 24 * 256};
  double output = 0, gradient = 0;
  testing::detail::check_precision<conv<float>, conv<double>>(sizes_of(float{}), sizes_of(double{}), o, 2e-5, "float",
                                                              output, gradient);
  testing::detail::check_precision<conv<bf16>, conv<double>>(sizes_of(bf16{}), sizes_of(double{}), o, 2e-2, "bf16",
                                                             output, gradient);
  testing::detail::check_threads<conv<float>>(sizes_of(float{}), o);
  testing::detail::check_threads<conv<bf16>>(sizes_of(bf16{}), o);
}

TEST_CASE("conv2d refuses what does not fit, with both numbers") {
  CHECK_THROWS_WITH_AS(nn::conv2d<float>({3, 4, 2, 2, 5}), doctest::Contains("kernel of 5 does not fit a map of 2 x 2"),
                       error);
  CHECK_THROWS_WITH_AS(nn::conv2d<float>({3, 0, 8, 8}), doctest::Contains("channels 3 to 0"), error);
  CHECK_THROWS_WITH_AS(nn::conv2d<float>({3, 4, 8, 8, 3, 1, 1, true, true}), doctest::Contains("not 3 and 4"), error);
  CHECK_THROWS_WITH_AS(nn::conv2d<float>({3, 4, 8, 8, 3, 1, 3}), doctest::Contains("padding 3"), error);
  workspace<nn::conv2d<float>> w(nn::conv2d<float>({2, 3, 2, 2, 1}), {.max_rows = 8});
  float x[16] = {}, y[24] = {};
  CHECK_THROWS_WITH_AS(w.forward({x, 5, 2}, {y, 4, 3}), doctest::Contains("5 rows are no whole number of maps"), error);
  CHECK_THROWS_WITH_AS(w.forward({x, 4, 3}, {y, 4, 3}), doctest::Contains("built for width 2"), error);
}

TEST_CASE("cost of a convolution is known at compile time") {
  constexpr nn::conv2d<float>::config c{.in = 3, .out = 8, .height = 32, .width = 32, .stride = 2, .padding = 1};
  static_assert(c.out_height() == 16);
  static_assert(nn::conv2d<float>::out_rows(c, 2048) == 512);
  static_assert(nn::conv2d<float>::count(c, 2048).params == 3 * 8 * 9 + 8);
  static_assert(nn::conv2d<float>::count(c, 2048).macs == 2 * 256 * 8 * 27);
  constexpr nn::conv2d<float>::config d{
      .in = 8, .out = 8, .height = 4, .width = 4, .padding = 1, .bias = false, .depthwise = true};
  static_assert(nn::conv2d<float>::count(d, 16).macs == 16 * 8 * 9);
  static_assert(nn::conv2d<float>::count(d, 16).params == 72);
}

}  // namespace
}  // namespace polymoe
