// Attention on CUDA, run on the CPU by the host executor, against the CPU backend.
// with: nn
#include "helpers.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cpu/attention.hpp>
#include <polymoe/backend/cuda/dispatch/attention.cuh>

namespace polymoe::executor_test {
namespace {

template <class T>
void compare(index tokens, index heads, index head_dim, index images, index gap = 0, double size = 1,
             double limit = bound<T>(1e-2)) {
  CAPTURE(tokens);
  CAPTURE(head_dim);
  const backend::attention_shape s{tokens, heads * head_dim, heads};
  const index rows = images * tokens;
  tensor<T> qkv(rows, 3 * s.dim, 1, gap), d_o(rows, s.dim, 2, gap);
  for (index r = 0; r < rows; ++r)
    for (index k = 0; k < 2 * s.dim; ++k) qkv.v.set(r, k, qkv.v.get(r, k) * static_cast<compute_t<T>>(size));
  const auto before = qkv.memory(), before_o = d_o.memory();
  tensor<T> o(rows, s.dim, 0), o2(rows, s.dim, 0, gap), g(rows, 3 * s.dim, 0), g2(rows, 3 * s.dim, 0, gap);
  runner<cpu> one([&](auto& b) { backend::attention_bind<T>(b, s, images, false); });
  runner<cuda> two([&](auto& b) { backend::attention_bind<T>(b, s, images, true); });
  const view<T> kept = backend::attention_bind<T>(two.real, s, images, true);
  executor::scope with{{.seed = static_cast<std::uint64_t>(tokens)}};
  backend::attention_forward<T>(one.c, s, qkv, o, {});
  backend::attention_forward<T>(two.c, s, qkv, o2, kept);
  CHECK(distance(o2.v, o.v) <= bound<T>(6e-3));
  backend::attention_backward<T>(one.c, s, qkv, o, {}, d_o, g);
  backend::attention_backward<T>(two.c, s, qkv, o2, kept, d_o, g2);
  for (int part = 0; part < 3; ++part) {
    CAPTURE(part);
    // One token has the probability 1: the gradients of its query and key are 0, on the CPU up to rounding.
    if (tokens == 1 && part < 2) {
      for (index r = 0; r < rows; ++r)
        for (index k = 0; k < s.dim; ++k)
          CHECK(std::abs(static_cast<double>(g2.v.get(r, part * s.dim + k))) < bound<T>(0.1) * 10);
    } else {
      CHECK(distance(g2.v.cols_at(part * s.dim, s.dim), g.v.cols_at(part * s.dim, s.dim)) <= limit);
    }
  }
  CHECK(same_bits(before, qkv.memory()));
  CHECK(same_bits(before_o, d_o.memory()));

  executor::scope again{{.seed = 1234}};
  tensor<T> o3(rows, s.dim, 0, gap), g3(rows, 3 * s.dim, 0, gap);
  backend::attention_forward<T>(two.c, s, qkv, o3, kept);
  backend::attention_backward<T>(two.c, s, qkv, o3, kept, d_o, g3);
  CHECK(same(o3, o2));
  CHECK(same(g3, g2));
}
}  // namespace

TEST_CASE("attention on CUDA equals the CPU's: double") {
  if (no_fibers()) return;
  compare<double>(1, 1, 1, 1);
  compare<double>(5, 2, 3, 3);
  compare<double>(33, 2, 8, 1);
  compare<double>(37, 1, 40, 1);
  compare<double>(9, 1, 128, 1);
}
TEST_CASE("attention on CUDA equals the CPU's: float") {
  if (no_fibers()) return;
  compare<float>(1, 1, 4, 2);
  compare<float>(17, 2, 5, 2);
  compare<float>(65, 2, 16, 1, 4);
  compare<float>(33, 1, 64, 1);
  compare<float>(20, 1, 80, 1, 1);
  compare<float>(12, 1, 128, 1);
  compare<float>(40, 1, 16, 1, 0, 3);
  compare<float>(40, 1, 16, 1, 0, 20, 3e-4);  // scores of hundreds, whose rounding both backends have
}
TEST_CASE("attention on CUDA equals the CPU's: bf16 on matrix instructions") {
  if (no_fibers()) return;
  compare<bf16>(1, 1, 8, 2);
  compare<bf16>(17, 2, 5, 2);
  compare<bf16>(65, 2, 16, 2);
  compare<bf16>(50, 2, 64, 1, 8);
  compare<bf16>(40, 1, 80, 1, 3);
  compare<bf16>(12, 1, 128, 1);
}
TEST_CASE("attention on CUDA equals the CPU's: as many tokens as an image has") {
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
