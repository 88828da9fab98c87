// What experts and units need besides products on CUDA: their work list, their input, copies, gated activations, pooling.
#pragma once

#include "../kernel/bias.cuh"
#include "../kernel/rows.cuh"
#include "grouped.cuh"
#include "move.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// The rows of each expert in a call: where the plan's counts lie on the device.
struct grouped_work {
  grouped::segments rows;
  index max_runs = 0;

  template <class Binder>
  void bind(Binder&, int /*experts*/, index most_runs, index /*most_rows*/) {
    max_runs = most_runs;
  }
  template <class C>
  void list(const sparse_plan<C>& p, index unit_rows) {
    rows = grouped::segments_of(p, unit_rows);
  }
};

namespace detail {
/// A grid of threads for `n` elements, no more than eight blocks for each that runs at once.
inline device::launch_shape thread_grid(const char* what, const cuda_device::stream& s, index n) {
  const index blocks = ceil_div(n, kernel::row_threads), most = index{s.blocks} * 8;
  return {.kernel = what, .grid = static_cast<int>(blocks < most ? blocks : most), .block = kernel::row_threads, .shared = 0,
          .stream = s.handle};
}
/// to = from, rounded.
template <class To, class From>
void convert_rows(const cuda_device::stream& s, view<const From> from, view<To> to) {
  const auto shape = warp_rows("convert", s, to.rows);
  with_access<To>([&]<class V>(V) { device::launch(shape, kernel::convert_kernel<To, From, V::value>, from, to); },
                  from, to);
}
template <class T>
view<const T> as_view(const grouped::rows_of<T>& r, index rows, index cols) {
  return {r.data, rows, cols, r.stride};
}
}  // namespace detail

/// The rows experts read, fetched through the plan where they are used; of mixtures a copy, rows of bad units as zeros.
template <class T, class C>
grouped::rows_of<T> expert_input(const context<cuda_device>& c, const sparse_plan<C>& p, view<const T> x, index unit_rows,
                                 view<T> gathered) {
  if (p.layout != plan_layout::identity) return grouped::through(p, x);
  const view<T> copy = gathered.rows_at(0, x.rows);
  const auto shape = detail::warp_rows("good rows", c.stream, x.rows);
  detail::with_access<T>([&]<class V>(V) { device::launch(shape, kernel::good_rows_kernel<T, V::value>, p.bad, unit_rows, x, copy); },
                         x, copy);
  return grouped::through(p, copy);
}

/// to = from in slot order, for the rows experts own.
template <class T>
void copy_rows(const context<cuda_device>& c, const grouped_work& work, const grouped::rows_of<T>& from, view<T> to) {
  const auto shape = detail::warp_rows("copy rows", c.stream, work.rows.rows());
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::copy_rows_kernel<T, V::value>, work.rows, from, to); },
      detail::as_view(from, 1, to.cols), to);
}
template <class T>
void copy_slots(const context<cuda_device>& c, const grouped_work& work, view<const T> from, view<T> to) {
  copy_rows(c, work, grouped::in_slot_order(from), to);
}

template <class Act, class T>
void activate_gated(const context<cuda_device>& c, const grouped_work& work, view<const T> a, view<const T> b, view<T> h) {
  const auto shape = detail::warp_rows("gated activation", c.stream, work.rows.rows());
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::activate_gated_kernel<Act, T, V::value>, work.rows, a, b, h); }, a, b, h);
}
template <class Act, class T>
void activate_gated_backward(const context<cuda_device>& c, const grouped_work& work, view<const T> d, view<T> a, view<T> b) {
  const auto shape = detail::warp_rows("gated activation backward", c.stream, work.rows.rows());
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::activate_gated_backward_kernel<Act, T, V::value>, work.rows, d, a, b); },
      d, a, b);
}

/// The router's input for units of several rows: the rows, each with the share the unit policy gives it.
template <class Unit, class T>
void pool_units(const context<cuda_device>& c, view<const T> x, index unit_rows, view<T> pooled) {
  device::launch(detail::thread_grid("pool units", c.stream, pooled.rows * pooled.cols), kernel::pool_units_kernel<Unit, T>, x,
                 unit_rows, pooled);
}
/// dx[rows of a unit] += share * d[unit].
template <class Unit, class T>
void spread_units(const context<cuda_device>& c, view<const T> d, index unit_rows, view<T> dx) {
  device::launch(detail::thread_grid("spread units", c.stream, dx.rows * dx.cols), kernel::spread_units_kernel<Unit, T>, d,
                 unit_rows, dx);
}

}  // namespace backend
}  // namespace polymoe
