// Elementwise operations on CUDA: activations, sums, copies, dropout.  Tensors without gaps between their rows are
// treated as one long row, so that narrow rows waste no lanes.
#pragma once

#include "../kernel/pointwise.cuh"
#include "move.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace detail {

/// True when the rows of all views begin on 16-byte borders; a null view does.
template <class... T>
bool starts_aligned(const view<T>&... v) {
  const auto one = [](const auto& m) {
    const auto bytes = static_cast<index>(sizeof(*m.ptr[0]));
    return reinterpret_cast<std::uintptr_t>(m.ptr[0]) % 16 == 0 && (m.rows <= 1 || m.stride * bytes % 16 == 0);
  };
  return (one(v) && ...);
}

/// y = f(a, b); `b` may be null when f reads one input.
template <class F, class T>
void map(const cuda_device::stream& s, const char* name, F f, view<const T> a, view<const T> b, view<T> y) {
  if (a.contiguous() && (!b.ptr[0] || b.contiguous()) && y.contiguous()) {
    const index n = y.size();
    a = a.reshaped(1, n), b = b.reshaped(1, n), y = y.reshaped(1, n);
  }
  const auto start = [&]<class V>(V) {
    const auto shape = warp_rows(name, s, y.rows * ceil_div(y.cols, kernel::map_span<V::value>));
    device::launch(shape, kernel::map_kernel<F, T, V::value>, f, a, b, y);
  };
  if (starts_aligned(a, b, y))
    start(std::integral_constant<int, 16 / static_cast<int>(sizeof(T))>{});
  else
    start(std::integral_constant<int, 1>{});
}

}  // namespace detail

/// y = act(x).
template <class Act, class T>
void activation_forward(const context<cuda_device>& c, view<const T> x, view<T> y) {
  detail::map(c.stream, "activation", kernel::activate<Act>{}, x, view<const T>{}, y);
}
/// dx = dy act'(x); dx may be dy.
template <class Act, class T>
void activation_backward(const context<cuda_device>& c, view<const T> dy, view<const T> x, view<T> dx) {
  detail::map(c.stream, "activation backward", kernel::activate_gradient<Act>{}, dy, x, dx);
}

/// y = a + b; y may be either.
template <class T>
void add(const context<cuda_device>& c, view<const T> a, view<const T> b, view<T> y) {
  detail::map(c.stream, "add", kernel::plus{}, a, b, y);
}

/// y = x.
template <class T>
void copy(const context<cuda_device>& c, view<const T> x, view<T> y) {
  detail::map(c.stream, "copy", kernel::unchanged{}, x, view<const T>{}, y);
}

/// y = x where a draw is at least p, scaled by 1 / (1 - p), else 0.  The draws are those of the CPU for the same seed,
/// stream, step and micro-batch; the last two are read on the device, so a captured graph draws anew in every replay.
template <class T>
void dropout_apply(const context<cuda_device>& c, std::uint64_t stream, double p, view<const T> x, view<T> y) {
  using C = compute_t<T>;
  constexpr int V = sizeof(T) == 2 ? 8 : 4;
  const auto threshold = static_cast<std::uint64_t>(p * 4294967296.0);
  const C scale = static_cast<C>(1.0 / (1.0 - p));
  // Blocks of random bits do not cross rows: only rows of whole blocks may be joined.
  if (x.contiguous() && y.contiguous() && y.cols % 4 == 0) {
    const index n = y.size();
    x = x.reshaped(1, n), y = y.reshaped(1, n);
  }
  const auto shape = detail::warp_rows("dropout", c.stream, y.rows * ceil_div(y.cols, kernel::map_span<V>));
  const auto start = [&](auto entry) {
    device::launch(shape, entry, c.random, stream, c.step, threshold, scale, x, y);
  };
  if (detail::starts_aligned(x, y))
    start(kernel::dropout_kernel<T, V, true>);
  else
    start(kernel::dropout_kernel<T, V, false>);
}

}  // namespace backend
}  // namespace polymoe
