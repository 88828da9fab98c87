// Activations, sums, copies and dropout on CUDA, run on the CPU by the host executor, against the CPU backend.
// with: nn
#include "helpers.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cpu/pointwise.hpp>
#include <polymoe/backend/cuda/dispatch/pointwise.cuh>

namespace polymoe::executor_test {
namespace {

struct layout {
  index rows, cols, gap, shift;
};
const layout layouts[] = {{0, 16, 0, 0},  {1, 192, 0, 0}, {63, 10, 0, 0},  {65, 200, 0, 0},
                          {7, 384, 8, 0}, {5, 33, 3, 0},  {3, 1100, 0, 1}, {2, 16, 1, 0}};

template <class Act, class T>
void compare_activation(const layout& l, double limit) {
  tensor<T> x(l.rows, l.cols, 1, l.gap, l.shift), dy(l.rows, l.cols, 2, l.gap, l.shift);
  tensor<T> x0(l.rows, l.cols, 1, l.gap, l.shift), dx2(l.rows, l.cols, 2, l.gap, l.shift);
  tensor<T> y(l.rows, l.cols, 0, l.gap, l.shift), y2(l.rows, l.cols, 0, l.gap, l.shift), dx(l.rows, l.cols, 0);
  runner<cpu> one;
  runner<cuda> two;
  two.c.stream.blocks = 2;
  executor::scope with{{.seed = 3}};
  backend::activation_forward<Act, T>(one.c, x, y);
  backend::activation_forward<Act, T>(two.c, x, y2);
  CHECK(distance(y2.v, y.v) <= limit);
  backend::activation_backward<Act, T>(one.c, dy, x, dx);
  backend::activation_backward<Act, T>(two.c, fixed(dx2), x, dx2);  // in place
  CHECK(distance(dx2.v, dx.v) <= limit);
  CHECK(same(x, x0));
  for (index r = 0; r + 1 < l.rows; ++r)  // the gaps between rows stay as they were
    for (index k = l.cols; k < l.cols + l.gap; ++k) CHECK(std::isnan(static_cast<double>(value_of(y2.v.row(r)[k]))));
}

template <class T>
void compare_plain(const layout& l, std::uint64_t seed) {
  tensor<T> a(l.rows, l.cols, 1, l.gap, l.shift), b(l.rows, l.cols, 2, l.gap), y(l.rows, l.cols, 0);
  tensor<T> y2(l.rows, l.cols, 1, l.gap, l.shift), z(l.rows, l.cols, 0), z2(l.rows, l.cols, 0, l.gap);
  runner<cpu> one;
  runner<cuda> two;
  two.c.stream.blocks = 2;
  executor::scope with{{.seed = seed}};
  backend::add<T>(one.c, a, b, y);
  backend::add<T>(two.c, fixed(y2), b, y2);
  CHECK(distance(y2.v, y.v) == 0);
  backend::copy(two.c, fixed(a), z2.v);
  CHECK(distance(z2.v, a.v) == 0);

  step_state step;
  step.step = 5, step.micro = 2;
  one.c.random.seed = two.c.random.seed = 99;
  one.c.step = two.c.step = &step;
  const auto id = stream_id("blocks.1.drop");
  backend::dropout_apply<T>(one.c, id, 0.3, a, y);
  backend::dropout_apply<T>(two.c, id, 0.3, a, z);
  CHECK(same(y, z));
  index dropped = 0;
  for (index r = 0; r < l.rows; ++r)
    for (index k = 0; k < l.cols; ++k) dropped += z.v.get(r, k) == compute_t<T>(0);
  const auto n = static_cast<double>(l.rows * l.cols);
  CHECK(std::abs(static_cast<double>(dropped) - 0.3 * n) <= 5 * std::sqrt(0.21 * n) + 1);
  two.c.stream.blocks = 1;
  backend::dropout_apply<T>(two.c, id, 0.3, a, z2);
  CHECK(distance(z2.v, z.v) == 0);
  if (n < 100) return;
  step.micro = 3;
  backend::dropout_apply<T>(two.c, id, 0.3, a, z2);
  CHECK(distance(z2.v, z.v) > 0.1);
}
}  // namespace

TEST_CASE("activations on CUDA equal the CPU's: aligned and odd widths, gaps, in place") {
  if (no_fibers()) return;
  for (const layout& l : layouts) {
    CAPTURE(l.cols);
    compare_activation<act::gelu_tanh, float>(l, bound<float>());
    compare_activation<act::gelu_tanh, bf16>(l, 1e-3);
    compare_activation<act::silu, double>(l, bound<double>());
    compare_activation<act::relu, float>(l, 0);
  }
}
TEST_CASE("sums, copies and dropout on CUDA equal the CPU's bit by bit") {
  if (no_fibers()) return;
  for (const layout& l : layouts) {
    CAPTURE(l.cols);
    compare_plain<float>(l, 1);
    compare_plain<bf16>(l, 2);
    compare_plain<double>(l, 3);
  }
}
}  // namespace polymoe::executor_test
