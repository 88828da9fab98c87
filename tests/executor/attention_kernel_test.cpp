// Attention on CUDA, run by the host executor and in tests/gpu on a GPU, against plain loops in double: nvcc does not
// read the vector code of the CPU's attention, which tests/nn compares with the same formulas.
// with: nn
#include "helpers.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cuda/dispatch/attention.cuh>

namespace polymoe::executor_test {
namespace {

/// softmax(q k^T / sqrt(d)) v per head from qkv [rows, 3 D] = q | k | v, and the gradient
/// of qkv for that of the output.
struct attention_wanted {
  std::vector<double> o, d_qkv;
  template <class T>
  attention_wanted(const backend::attention_shape& s, index images, const std::vector<T>& qkv,
                   const std::vector<T>& d_o)
      : o(d_o.size()), d_qkv(qkv.size()) {
    const index n = s.tokens, d = s.head_dim();
    const double scale = 1 / std::sqrt(static_cast<double>(d));
    std::vector<double> p(static_cast<std::size_t>(n)), dp(p);
    for (index item = 0; item < images * s.heads; ++item) {
      const index row = item / s.heads * n, col = item % s.heads * d;
      const auto at = [=](index t, index part, index j) {
        return static_cast<std::size_t>((row + t) * 3 * s.dim + part * s.dim + col + j);
      };
      for (index q = 0; q < n; ++q) {
        const auto out = [=](index j) { return static_cast<std::size_t>((row + q) * s.dim + col + j); };
        double top = -HUGE_VAL, total = 0, mean = 0;
        for (index k = 0; k < n; ++k) {
          double score = 0, grad = 0;
          for (index j = 0; j < d; ++j) {
            score += number(qkv[at(q, 0, j)]) * number(qkv[at(k, 1, j)]);
            grad += number(d_o[out(j)]) * number(qkv[at(k, 2, j)]);
          }
          p[static_cast<std::size_t>(k)] = score * scale, dp[static_cast<std::size_t>(k)] = grad;
          top = std::max(top, score * scale);
        }
        for (double& x : p) total += x = std::exp(x - top);
        for (std::size_t k = 0; k < p.size(); ++k) p[k] /= total, mean += p[k] * dp[k];
        for (index k = 0; k < n; ++k) {
          const double weight = p[static_cast<std::size_t>(k)];
          const double ds = weight * (dp[static_cast<std::size_t>(k)] - mean) * scale;
          for (index j = 0; j < d; ++j) {
            o[out(j)] += weight * number(qkv[at(k, 2, j)]);
            d_qkv[at(k, 2, j)] += weight * number(d_o[out(j)]);
            d_qkv[at(q, 0, j)] += ds * number(qkv[at(k, 1, j)]);
            d_qkv[at(k, 1, j)] += ds * number(qkv[at(q, 0, j)]);
          }
        }
      }
    }
  }
};
/// `count` columns from `first` on.
template <class T>
std::vector<T> columns(const std::vector<T>& all, index cols, index first, index count) {
  std::vector<T> to;
  for (auto row = all.begin(); row != all.end(); row += cols) to.insert(to.end(), row + first, row + first + count);
  return to;
}

template <class T>
void compare(index tokens, index heads, index head_dim, index images, index gap = 0, double size = 1,
             double limit = bound<T>(1e-2)) {
  CAPTURE(tokens);
  CAPTURE(head_dim);
  const backend::attention_shape s{tokens, heads * head_dim, heads};
  const index rows = images * tokens;
  tensor<T> qkv(rows, 3 * s.dim, 1, gap), d_o(rows, s.dim, 2, gap);
  std::vector<T> scaled = qkv.host();
  for (index i = 0; i < qkv.v.size(); ++i)
    if (i % (3 * s.dim) < 2 * s.dim)
      if (T& x = scaled[static_cast<std::size_t>(i)]; size != 1) store(x, static_cast<compute_t<T>>(size * number(x)));
  qkv.put(scaled);
  const attention_wanted want(s, images, scaled, d_o.host());
  const auto before = qkv.memory(), before_o = d_o.memory();
  tensor<T> o(rows, s.dim, 0, gap), g(rows, 3 * s.dim, 0, gap);
  runner<cuda> two([&](auto& b) { backend::attention_bind<T>(b, s, images, true); });
  const view<T> kept = backend::attention_bind<T>(two.real, s, images, true);
  {
    const grid_order with(static_cast<std::uint64_t>(tokens));
    backend::attention_forward<T>(two.c, s, qkv, o, kept);
    backend::attention_backward<T>(two.c, s, qkv, o, kept, d_o, g);
  }
  CHECK(distance(o.host(), want.o) <= std::max(bound<T>(6e-3), size == 1 ? 0 : limit));
  for (int part = 0; part < 3; ++part) {
    CAPTURE(part);
    const auto got = columns(g.host(), 3 * s.dim, part * s.dim, s.dim);
    // One token has the probability 1: the gradients of its query and key are 0.
    if (tokens == 1 && part < 2) {
      for (const T& x : got) CHECK(std::abs(number(x)) < bound<T>(0.1) * 10);
    } else {
      CHECK(distance(got, columns(want.d_qkv, 3 * s.dim, part * s.dim, s.dim)) <= limit);
    }
  }
  CHECK(same_bits(before, qkv.memory()));
  CHECK(same_bits(before_o, d_o.memory()));

  const grid_order again(1234);
  two.c.stream.blocks = 3;
  tensor<T> o2(rows, s.dim, 0, gap), g2(rows, 3 * s.dim, 0, gap);
  backend::attention_forward<T>(two.c, s, qkv, o2, kept);
  backend::attention_backward<T>(two.c, s, qkv, o2, kept, d_o, g2);
  CHECK(same(o2, o));
  CHECK(same(g2, g));
}
}  // namespace

TEST_CASE("attention on CUDA equals plain loops: double") {
  if (no_fibers()) return;
  compare<double>(1, 1, 1, 1);
  compare<double>(5, 2, 3, 3);
  compare<double>(33, 2, 8, 1);
  compare<double>(37, 1, 40, 1);
  compare<double>(9, 1, 128, 1);
}
TEST_CASE("attention on CUDA equals plain loops: float") {
  if (no_fibers()) return;
  compare<float>(1, 1, 4, 2);
  compare<float>(17, 2, 5, 2);
  compare<float>(65, 2, 16, 1, 4);
  compare<float>(33, 1, 64, 1);
  compare<float>(20, 1, 80, 1, 1);
  compare<float>(12, 1, 128, 1);
  compare<float>(40, 1, 16, 1, 0, 3);
  compare<float>(40, 1, 16, 1, 0, 20, 3e-4);  // scores of hundreds, whose rounding weighs more
}
TEST_CASE("attention on CUDA equals plain loops: bf16 on matrix instructions") {
  if (no_fibers()) return;
  compare<bf16>(1, 1, 8, 2);
  compare<bf16>(17, 2, 5, 2);
  compare<bf16>(65, 2, 16, 2);
  compare<bf16>(50, 2, 64, 1, 8);
  compare<bf16>(40, 1, 80, 1, 3);
  compare<bf16>(12, 1, 128, 1);
}
TEST_CASE("attention on CUDA equals plain loops: as many tokens as an image has") {
  if (no_fibers()) return;
  compare<bf16>(197, 1, 64, 1);
  compare<float>(257, 1, 16, 1);
  compare<float>(197, 1, 8, 1);
}
TEST_CASE("attention on CUDA: no images; heads that do not fit") {
  if (no_fibers()) return;
  compare<float>(7, 2, 8, 0);
  binder<cuda> b;
  const auto wide = message_of([&] { backend::attention_bind<double>(b, {16, 4096, 1}, 1, true); });
  CHECK(holds(wide, "heads of width 4096 need"));
}
}  // namespace polymoe::executor_test
