// nn::patch_embed: the module contract with plain, overlapping and padded patches, and the convolution it is.
// thread: yes
// with: parts
#include <doctest/doctest.h>

#include <polymoe/nn/patch_embed.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using patches = nn::patch_embed<T>;

TEST_CASE("patch_embed keeps the module contract") {
  struct sizes {
    index c, h, w, p, stride, pad;
  };
  for (const sizes s : {sizes{2, 6, 4, 2, 0, 0}, {1, 7, 5, 3, 2, 1}, {1, 5, 5, 2, 3, 0}}) {
    CAPTURE(s.p);
    testing::check_module<patches>(
        [=](auto t) { return typename patches<decltype(t)>::config{s.c, s.h, s.w, s.p, s.stride, s.pad, 5}; },
        {.rows = 3});
  }
}

TEST_CASE("patch_embed is a convolution") {
  const nn::patch_embed<double>::config c{2, 7, 6, 3, 2, 1, 4};
  static_assert(nn::patch_embed<double>::config{3, 28, 28, 4}.tokens() == 49);
  const index tokens = c.tokens();
  REQUIRE(tokens == 4 * 3);
  workspace<nn::patch_embed<double>> w(nn::patch_embed<double>(c), {.max_rows = 2, .seed = 4});
  CHECK(w.entries()[0].name == "proj.weight");
  CHECK(w.entries()[0].dims == std::vector<index>{4, 2, 3, 3});
  std::vector<double> x(2 * 2 * 7 * 6), y(2 * tokens * 4);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i));
  w.forward({x.data(), 2, 84}, {y.data(), 2 * tokens, 4});
  const double* weight = w.values().ptr[0] + w.entries()[0].offset;
  const double* bias = w.values().ptr[0] + w.entries()[1].offset;
  for (index image = 0; image < 2; ++image)
    for (index i = 0; i < 4; ++i)
      for (index j = 0; j < 3; ++j)
        for (index o = 0; o < 4; ++o) {
          double s = bias[o];
          for (index ch = 0; ch < 2; ++ch)
            for (index a = 0; a < 3; ++a)
              for (index b = 0; b < 3; ++b) {
                const index h = 2 * i - 1 + a, v = 2 * j - 1 + b;
                if (h < 0 || h >= 7 || v < 0 || v >= 6) continue;
                s += weight[((o * 2 + ch) * 3 + a) * 3 + b] * x[((image * 2 + ch) * 7 + h) * 6 + v];
              }
          CHECK(y[((image * tokens + i * 3 + j) * 4) + o] == doctest::Approx(s).epsilon(1e-12));
        }
  CHECK_THROWS_WITH_AS(nn::patch_embed<float>({3, 2, 2, 4, 0, 0, 8}), doctest::Contains("does not fit"), error);
}

}  // namespace
}  // namespace polymoe
