// gather, combine and their backwards on CUDA: picks the width of an access and the grid, and launches.
#pragma once

#include "../backend.cuh"
#include "../kernel/move.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace detail {

/// True when rows of all views begin and end on 16-byte borders.
template <class... T>
bool rows_aligned(const view<T>&... v) {
  const auto one = [](const auto& m) {
    const auto bytes = static_cast<index>(sizeof(*m.ptr[0]));
    return !m.ptr[0] || (reinterpret_cast<std::uintptr_t>(m.ptr[0]) % 16 == 0 && m.stride * bytes % 16 == 0 &&
                         m.cols * bytes % 16 == 0);
  };
  return (one(v) && ...);
}
/// f with the number of elements of T that one access moves.
template <class T, class F, class... V>
void with_access(F f, const V&... views) {
  if (rows_aligned(views...)) f(std::integral_constant<int, 16 / static_cast<int>(sizeof(T))>{});
  else f(std::integral_constant<int, 1>{});
}
/// A grid of warps for `rows` rows: one row a warp, and no more blocks than eight times what runs at once.
inline device::launch_shape warp_rows(const char* kernel, const cuda_device::stream& s, index rows) {
  const index blocks = ceil_div(rows, kernel::move_warps), most = index{s.blocks} * 8;
  return {.kernel = kernel, .grid = static_cast<int>(blocks < most ? blocks : most), .block = 32 * kernel::move_warps,
          .shared = 0, .stream = s.handle};
}

}  // namespace detail

/// slots[s] = x[token(s)] for a padded or packed plan; empty slots of a padded one become zero.
template <class T, class C>
void gather(const context<cuda_device>& c, const sparse_plan<C>& p, view<const T> x, index unit_rows, view<T> slots) {
  const auto shape = detail::warp_rows("gather", c.stream, p.max_slots * unit_rows);
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::gather_kernel<T, V::value, C>, p, x, unit_rows, slots); }, x,
      slots);
}

/// y[t] = sum of gate * out[slot] (+ skip * x[t]).
template <class T, class C>
void combine_slots(const context<cuda_device>& c, const sparse_plan<C>& p, view<const T> out, view<const T> x,
                   index unit_rows, view<T> y) {
  const auto shape = detail::warp_rows("combine", c.stream, p.tokens * unit_rows);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::sum_slots_kernel<true, T, V::value, C>, p, out, x, unit_rows, y);
      },
      out, x, y);
}

/// d_out[slot] = gate * dy[t] (zero in empty slots of a padded plan), d_gate and d_skip +=.  With an empty `out`,
/// d_out[slot] = dy[t] and d_gate is left alone: the experts find it (save::without_output).
template <class T, class C>
void combine_backward(const context<cuda_device>& c, const sparse_plan<C>& p, view<const T> dy, view<const T> out,
                      view<const T> x, index unit_rows, view<T> d_out, view<C> d_gate, view<C> d_skip) {
  if (p.layout == plan_layout::padded)
    device::launch(detail::warp_rows("clear empty slots", c.stream, p.max_slots * unit_rows),
                   kernel::clear_empty_kernel<T, C>, p, unit_rows, d_out);
  const auto shape = detail::warp_rows("combine backward", c.stream, p.tokens);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::combine_backward_kernel<T, V::value, C>, p, dy, out, x, unit_rows, d_out, d_gate,
                       d_skip);
      },
      dy, out, x, d_out);
}

/// dx[t] = sum of d_slots[slot] (+ skip * dy[t]).
template <class T, class C>
void gather_backward(const context<cuda_device>& c, const sparse_plan<C>& p, view<const T> d_slots, view<const T> dy,
                     index unit_rows, view<T> dx) {
  const auto shape = detail::warp_rows("gather backward", c.stream, p.tokens * unit_rows);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::sum_slots_kernel<false, T, V::value, C>, p, d_slots, dy, unit_rows, dx);
      },
      d_slots, dy, dx);
}

}  // namespace backend
}  // namespace polymoe
