// nn::attention: the module contract, and softmax(q k^T / sqrt(d)) v written out.
// with: parts
#include <doctest/doctest.h>

#include <polymoe/nn/attention.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using attention = nn::attention<T>;

TEST_CASE("attention keeps the module contract") {
  struct sizes {
    index dim, heads, tokens, images;
    bool keep;
  };
  for (const sizes s : {sizes{6, 2, 5, 3, true}, {32, 2, 17, 4, false}}) {
    CAPTURE(s.tokens);
    testing::check_module<attention>(
        [=](auto t) {
          return typename attention<decltype(t)>::config{s.dim, s.heads, s.tokens, true, s.keep};
        },
        {.rows = s.images * s.tokens, .param_scale = 0.4}, s.tokens);
  }
}

TEST_CASE("attention is softmax(q k^T / sqrt(d)) v per head and image") {
  const index dim = 12, heads = 3, d = 4, tokens = 7, images = 2, rows = images * tokens;
  workspace<nn::attention<double>> w(nn::attention<double>({dim, heads, tokens}), {.max_rows = rows, .seed = 3});
  REQUIRE(w.entries().size() == 4);
  CHECK(w.entries()[0].name == "qkv.weight");
  CHECK(w.entries()[3].name == "proj.bias");
  const auto param = [&](int entry) { return w.values().ptr[0] + w.entries()[static_cast<std::size_t>(entry)].offset; };
  for (index i = 0; i < 3 * dim; ++i) param(1)[i] = 0.01 * static_cast<double>(i);
  w.refresh();
  std::vector<double> x(rows * dim), y(rows * dim), qkv(rows * 3 * dim), o(rows * dim, 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(1.7 * static_cast<double>(i));
  w.forward({x.data(), rows, dim}, {y.data(), rows, dim});

  for (index r = 0; r < rows; ++r)
    for (index n = 0; n < 3 * dim; ++n) {
      double s = param(1)[n];
      for (index k = 0; k < dim; ++k) s += x[r * dim + k] * param(0)[n * dim + k];
      qkv[r * 3 * dim + n] = s;
    }
  for (index image = 0; image < images; ++image)
    for (index h = 0; h < heads; ++h)
      for (index i = 0; i < tokens; ++i) {
        const double* q = &qkv[(image * tokens + i) * 3 * dim + h * d];
        std::vector<double> p(tokens);
        double total = 0;
        for (index j = 0; j < tokens; ++j) {
          const double* k = &qkv[(image * tokens + j) * 3 * dim + dim + h * d];
          double s = 0;
          for (index e = 0; e < d; ++e) s += q[e] * k[e];
          total += p[j] = std::exp(s / 2.0);  // sqrt(4)
        }
        for (index j = 0; j < tokens; ++j)
          for (index e = 0; e < d; ++e)
            o[(image * tokens + i) * dim + h * d + e] +=
                p[j] / total * qkv[(image * tokens + j) * 3 * dim + 2 * dim + h * d + e];
      }
  for (index r = 0; r < rows; ++r)
    for (index n = 0; n < dim; ++n) {
      double s = param(3)[n];
      for (index k = 0; k < dim; ++k) s += o[r * dim + k] * param(2)[n * dim + k];
      CHECK(y[r * dim + n] == doctest::Approx(s).epsilon(1e-10));
    }
}

TEST_CASE("attention with recomputed probabilities gives the bits of kept ones") {
  const index dim = 16, tokens = 9, rows = 27;
  std::vector<float> result[2];
  for (const bool keep : {false, true}) {
    nn::attention<float>::config c{dim, 2, tokens, true, keep};
    workspace<nn::attention<float>> w(nn::attention<float>(c), {.max_rows = rows, .seed = 3});
    std::vector<float> x(rows * dim), y(rows * dim), dx(rows * dim);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(1.7f * static_cast<float>(i));
    w.forward({x.data(), rows, dim}, {y.data(), rows, dim});
    w.backward({x.data(), rows, dim}, {dx.data(), rows, dim});
    result[keep] = dx;
    if (keep) CHECK(w.saved_bytes() > 0);
  }
  CHECK(result[0] == result[1]);
}

TEST_CASE("attention survives large scores") {
  const index dim = 8, tokens = 4;
  workspace<nn::attention<float>> w(nn::attention<float>({dim, 1, tokens}), {.max_rows = tokens});
  std::vector<float> x(tokens * dim, 1000.0f), y(tokens * dim);
  x[3] = -1000.0f;
  w.forward({x.data(), tokens, dim}, {y.data(), tokens, dim});
  for (const float v : y) CHECK(std::isfinite(v));
}

TEST_CASE("attention refuses broken shapes") {
  CHECK_THROWS_WITH_AS(nn::attention<float>({10, 3, 4}), doctest::Contains("dim 10 is not a multiple of heads 3"),
                       error);
  workspace<nn::attention<float>> w(nn::attention<float>({8, 2, 4}), {.max_rows = 8});
  float x[64] = {}, y[64] = {};
  CHECK_THROWS_WITH_AS(w.forward({x, 6, 8}, {y, 6, 8}), doctest::Contains("6 rows"), error);
  // 4 D^2 + 2 T D a token
  static_assert(nn::attention<float>::count({8, 2, 4}, 4).macs == 4 * (4 * 64 + 2 * 4 * 8));
}

}  // namespace
}  // namespace polymoe
