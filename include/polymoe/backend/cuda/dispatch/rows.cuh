// What experts and units need besides products on CUDA: their work list, their input,
// copies, gated activations, pooling.
#pragma once

#include "../../../plan/dense_plan.hpp"
#include "../kernel/bias.cuh"
#include "../kernel/rows.cuh"
#include "grouped.cuh"
#include "move.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// The rows of each expert in a call: where the plan's counts lie on the device.
struct grouped_work {
  grouped::segments rows;
  index each = -1;  ///< rows of every expert, empty slots included, where they are equally many; else -1
  index max_runs = 0;

  template <class Binder>
  void bind(Binder&, int /*experts*/, index most_runs, index /*most_rows*/) {
    max_runs = most_runs;
  }
  template <class C>
  void list(const sparse_plan<C>& p, index unit_rows) {
    rows = grouped::segments_of(p, unit_rows);
    each = p.layout == plan_layout::identity ? index{p.tokens} * unit_rows
           : p.layout == plan_layout::padded && p.all_experts == p.experts
               ? index{p.groups} * p.capacity * unit_rows
               : -1;
  }
  /// The same for a plan of slots.
  void list(const slot_layout& p, index unit_rows) {
    const index slots = index{p.groups} * p.capacity;
    rows = grouped::equal_segments(p.experts, slots), rows.unit_rows = static_cast<int>(unit_rows);
    each = slots * unit_rows;
  }
};

namespace detail {
/// A grid of threads for `n` elements, no more than eight blocks for each that runs at once.
inline device::launch_shape thread_grid(const char* what, const cuda_device::stream& s, index n) {
  const index blocks = ceil_div(n, kernel::row_threads), most = index{s.blocks} * 8;
  return {.kernel = what,
          .grid = static_cast<int>(blocks < most ? blocks : most),
          .block = kernel::row_threads,
          .shared = 0,
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

/// The rows experts read: fetched through the plan where they are used, or, if `gathered` has room for them, in slot
/// order with zeros in empty slots; of mixtures a copy, rows of bad units as zeros.
template <class T, class C>
grouped::rows_of<T> expert_input(const context<cuda_device>& c, const sparse_plan<C>& p, view<const T> x,
                                 index unit_rows, view<T> gathered) {
  if (p.layout != plan_layout::identity) {
    if (gathered.rows == 0) return grouped::through(p, x);
    gather<T>(c, p, x, unit_rows, gathered);
    return grouped::in_slot_order(gathered);
  }
  const view<T> copy = gathered.rows_at(0, x.rows);
  const auto shape = detail::warp_rows("good rows", c.stream, x.rows);
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::good_rows_kernel<T, V::value>, p.bad, unit_rows, x, copy); }, x,
      copy);
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

/// to += from in slot order, for the rows experts own; rows without a source add nothing.
template <class T>
void add_rows(const context<cuda_device>& c, const grouped_work& work, const grouped::rows_of<T>& from, view<T> to) {
  const auto shape = detail::warp_rows("add rows", c.stream, work.rows.rows());
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::add_rows_kernel<T, V::value>, work.rows, from, to); },
      detail::as_view(from, 1, to.cols), to);
}

/// h = act(a).
template <class Act, class T>
void activate(const context<cuda_device>& c, const grouped_work& work, view<const T> a, view<T> h) {
  const auto shape = detail::warp_rows("activation of experts", c.stream, work.rows.rows());
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::activate_rows_kernel<Act, T, V::value>, work.rows, a, h); }, a,
      h);
}
/// d_gate += <d, hidden> + <dy, bias> by slot, then d and dy times the gates; `bias` [E, D_out] may be null.
template <class T, class C>
void fold_gates(const context<cuda_device>& c, const grouped_work& work, const sparse_plan<C>& p, const C* bias,
                view<T> d, view<const T> hidden, view<T> dy, view<C> d_gate) {
  const auto shape = detail::warp_rows("fold gates", c.stream, work.rows.slots);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::fold_gates_kernel<T, V::value, C>, work.rows, p, bias, d, hidden, dy, d_gate);
      },
      d, hidden, dy);
}
template <class Act, class T>
void activate_gated(const context<cuda_device>& c, const grouped_work& work, view<const T> a, view<const T> b,
                    view<T> h) {
  const auto shape = detail::warp_rows("gated activation", c.stream, work.rows.rows());
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::activate_gated_kernel<Act, T, V::value>, work.rows, a, b, h); },
      a, b, h);
}
template <class Act, class T>
void activate_gated_backward(const context<cuda_device>& c, const grouped_work& work, view<const T> d, view<T> a,
                             view<T> b) {
  const auto shape = detail::warp_rows("gated activation backward", c.stream, work.rows.rows());
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::activate_gated_backward_kernel<Act, T, V::value>, work.rows, d, a, b);
      },
      d, a, b);
}

/// The router's input for units of several rows: the rows, each with the share the unit policy gives it.
template <class Unit, class T>
void pool_units(const context<cuda_device>& c, view<const T> x, index unit_rows, view<T> pooled) {
  device::launch(detail::thread_grid("pool units", c.stream, pooled.rows * pooled.cols),
                 kernel::pool_units_kernel<Unit, T>, x, unit_rows, pooled);
}
/// dx[rows of a unit] += share * d[unit].
template <class Unit, class T>
void spread_units(const context<cuda_device>& c, view<const T> d, index unit_rows, view<T> dx) {
  device::launch(detail::thread_grid("spread units", c.stream, dx.rows * dx.cols), kernel::spread_units_kernel<Unit, T>,
                 d, unit_rows, dx);
}

}  // namespace backend
}  // namespace polymoe
