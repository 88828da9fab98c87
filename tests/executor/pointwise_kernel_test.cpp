// Activations, sums, copies and dropout on CUDA, run by the host executor and in tests/gpu on a GPU, against the CPU
// backend.
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
  tensor<T> x(l.rows, l.cols, 1, l.gap, l.shift), dx(l.rows, l.cols, 2, l.gap, l.shift);
  tensor<T> y(l.rows, l.cols, 0, l.gap, l.shift);
  const host_tensor<T> host_x(x), host_dy(dx), want(l.rows, l.cols), want_dx(l.rows, l.cols);
  const auto x_before = x.memory(), y_before = y.memory();
  runner<cpu> one;
  runner<cuda> two;
  two.c.stream.blocks = 2;
  const grid_order with(3);
  backend::activation_forward<Act, T>(one.c, host_x, want);
  backend::activation_forward<Act, T>(two.c, x, y);
  CHECK(distance(y.host(), want.host()) <= limit);
  backend::activation_backward<Act, T>(one.c, host_dy, host_x, want_dx);
  backend::activation_backward<Act, T>(two.c, fixed(dx), x, dx);  // in place
  CHECK(distance(dx.host(), want_dx.host()) <= limit);
  CHECK(same_bits(x.memory(), x_before));
  const auto y_after = y.memory();
  for (index r = 0; r + 1 < l.rows; ++r) {  // the gaps between rows stay as they were
    const auto gap = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(r * y.v.stride + l.cols) * sizeof(T));
    CHECK(std::equal(y_after.begin() + gap, y_after.begin() + gap + l.gap * static_cast<index>(sizeof(T)),
                     y_before.begin() + gap));
  }
}

template <class T>
void compare_plain(const layout& l, std::uint64_t seed) {
  tensor<T> a(l.rows, l.cols, 1, l.gap, l.shift), b(l.rows, l.cols, 2, l.gap), sum(l.rows, l.cols, 1, l.gap, l.shift);
  tensor<T> copied(l.rows, l.cols, 0, l.gap), z(l.rows, l.cols, 0);
  const host_tensor<T> host_a(a), host_b(b), want(l.rows, l.cols);
  runner<cpu> one;
  runner<cuda> two;
  two.c.stream.blocks = 2;
  const grid_order with(seed);
  backend::add<T>(one.c, host_a, host_b, want);
  backend::add<T>(two.c, fixed(sum), b, sum);
  CHECK(same_bits(sum.host(), want.host()));
  backend::copy(two.c, fixed(a), copied.v);
  CHECK(same_bits(copied.host(), a.host()));

  step_state step;
  step.step = 5, step.micro = 2;
  on_device<step_state> there(step);
  one.c.random.seed = two.c.random.seed = 99;
  one.c.step = &step, two.c.step = there.data();
  const auto id = stream_id("blocks.1.drop");
  backend::dropout_apply<T>(one.c, id, 0.3, host_a, want);
  backend::dropout_apply<T>(two.c, id, 0.3, a, z);
  const std::vector<T> first = z.host();
  CHECK(same_bits(first, want.host()));
  index dropped = 0;
  for (const T& v : first) dropped += number(v) == 0;
  const auto n = static_cast<double>(l.rows * l.cols);
  CHECK(std::abs(static_cast<double>(dropped) - 0.3 * n) <= 5 * std::sqrt(0.21 * n) + 1);
  two.c.stream.blocks = 1;
  backend::dropout_apply<T>(two.c, id, 0.3, a, copied);
  CHECK(same_bits(copied.host(), first));
  if (n < 100) return;
  step.micro = 3;
  there.put(step);
  backend::dropout_apply<T>(two.c, id, 0.3, a, copied);
  CHECK(distance(copied.host(), first) > 0.1);
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
