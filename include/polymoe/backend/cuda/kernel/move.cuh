// Rows between unit order and slot order: gather, combine, and back.
//
// A warp owns one row and walks its columns 16 bytes a lane at a time (one element a lane where rows are not aligned).
// Both directions gather, through the plan or its inverse, so nothing is added to by two threads and sums have one
// order.  Numbers of slots are read from the plan on the device; grids are sized from bounds that the host knows.
#pragma once

#include "../../../plan/sparse_plan.hpp"
#include "../warp_group.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

inline constexpr int move_warps = 4;

/// V elements of T that are loaded and stored together.
template <class T, int V>
struct alignas(sizeof(T) * V) pack {
  T v[V];
};
template <class T, int V>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE pack<T, V> load_pack(const T* p) {
  return *reinterpret_cast<const pack<T, V>*>(p);
}
template <class T, int V>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void store_pack(T* p, const pack<T, V>& x) {
  *reinterpret_cast<pack<T, V>*>(p) = x;
}

/// Number of this warp in the grid, and how many there are.
POLYMOE_DEVICE inline index warp_rank() { return device::block_rank() * move_warps + device::warp(); }
POLYMOE_DEVICE inline index warp_total() { return device::grid_size().volume() * move_warps; }

/// slots[s] = x[token(s)]; empty slots become zero (products read them).  rows = max_slots * unit_rows.
template <class T, int V, class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
gather_kernel(sparse_plan<C> p, view<const T> x, index unit_rows, view<T> slots) {
  const index rows = index{p.begin[p.all_experts]} * unit_rows, step = index{32} * V;
  for (index row = warp_rank(); row < rows; row += warp_total()) {
    const index slot = row / unit_rows;
    const int t = p.token[slot];
    T* to = slots.row(row);
    const T* from = x.row(t < 0 ? 0 : t * unit_rows + row % unit_rows);
    for (index j = device::lane() * index{V}; j < x.cols; j += step) {
      pack<T, V> a;
      if (t >= 0) {
        a = load_pack<T, V>(from + j);
      } else {
        for (int i = 0; i < V; ++i) a.v[i] = static_cast<T>(0.0f);
      }
      store_pack<T, V>(to + j, a);
    }
  }
}

/// to[t] = sum over the unit's slots of weight * slots[slot] (+ skip[t] * other[t]), in the order of the inverse.
/// Gated: the combine; weight is the slot's gate, units that were not finite get NaN.  Not gated: the gradient of
/// gather; weight is 1, they get zero.
template <bool Gated, class T, int V, class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
sum_slots_kernel(sparse_plan<C> p, view<const T> slots, view<const T> other, index unit_rows, view<T> to) {
  const index rows = p.tokens * unit_rows, step = index{32} * V;
  for (index row = warp_rank(); row < rows; row += warp_total()) {
    const int t = static_cast<int>(row / unit_rows);
    const index r = row % unit_rows;
    const bool bad = p.bad[t] != 0;
    const int choices = bad ? 0 : p.choices(t);
    const C skip = p.skip.ptr[0] && !bad ? p.skip.get(0, t) : C(0);
    for (index j = device::lane() * index{V}; j < to.cols; j += step) {
      C sum[V];
      for (int i = 0; i < V; ++i) sum[i] = Gated && bad ? C(__builtin_nanf("")) : C(0);
      for (int k = 0; k < choices; ++k) {
        const index slot = p.slot_at(t, k);
        if (slot < 0) continue;
        const C weight = Gated ? p.gate.get(0, slot) : C(1);
        const auto a = load_pack<T, V>(slots.row(slot * unit_rows + r) + j);
        for (int i = 0; i < V; ++i) sum[i] += weight * static_cast<C>(a.v[i]);
      }
      if (skip != C(0)) {
        const auto a = load_pack<T, V>(other.row(row) + j);
        for (int i = 0; i < V; ++i) sum[i] += skip * static_cast<C>(a.v[i]);
      }
      pack<T, V> b;
      for (int i = 0; i < V; ++i) store(b.v[i], sum[i]);
      store_pack<T, V>(to.row(row) + j, b);
    }
  }
}

/// d_out[slot] = gate * dy[t], d_gate[slot] += <dy[t], out[slot]>, d_skip[t] += <dy[t], x[t]>.  One warp a unit: a slot
/// belongs to one unit, so every sum has one owner.  Slots of bad units in identity plans get zeros.  With an empty
/// `out`, d_out[slot] = dy[t] and d_gate is left alone.
template <class T, int V, class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, sizeof(C) == 8 ? 4 : 1)
combine_backward_kernel(sparse_plan<C> p, view<const T> dy, view<const T> out, view<const T> x, index unit_rows,
                        view<T> d_out, view<C> d_gate, view<C> d_skip) {
  const index step = index{32} * V;
  for (index t = warp_rank(); t < p.tokens; t += warp_total()) {
    const bool bad = p.bad[t] != 0;
    if (bad && p.layout != plan_layout::identity) continue;
    for (int k = 0; k < p.choices(static_cast<int>(t)); ++k) {
      const index slot = p.slot_at(static_cast<int>(t), k);
      if (slot < 0) continue;
      const bool gated = out.ptr[0] != nullptr;
      const C gate = bad ? C(0) : gated ? p.gate.get(0, slot) : C(1);
      C dot(0);
      for (index r = 0; r < unit_rows; ++r)
        for (index j = device::lane() * index{V}; j < dy.cols; j += step) {
          pack<T, V> d;
          if (bad) {
            for (int i = 0; i < V; ++i) d.v[i] = static_cast<T>(0.0f);
          } else {
            const auto g = load_pack<T, V>(dy.row(t * unit_rows + r) + j);
            if (gated) {
              const auto o = load_pack<T, V>(out.row(slot * unit_rows + r) + j);
              for (int i = 0; i < V; ++i) dot += static_cast<C>(g.v[i]) * static_cast<C>(o.v[i]);
            }
            for (int i = 0; i < V; ++i) store(d.v[i], gate * static_cast<C>(g.v[i]));
          }
          store_pack<T, V>(d_out.row(slot * unit_rows + r) + j, d);
        }
      if (!gated) continue;
      dot = warp_group{}.sum(dot);
      if (!bad && device::lane() == 0) d_gate.add(0, slot, dot);
    }
    if (!bad && p.skip.ptr[0]) {
      C dot(0);
      for (index r = 0; r < unit_rows; ++r)
        for (index j = device::lane() * index{V}; j < dy.cols; j += step) {
          const auto g = load_pack<T, V>(dy.row(t * unit_rows + r) + j);
          const auto a = load_pack<T, V>(x.row(t * unit_rows + r) + j);
          for (int i = 0; i < V; ++i) dot += static_cast<C>(g.v[i]) * static_cast<C>(a.v[i]);
        }
      dot = warp_group{}.sum(dot);
      if (device::lane() == 0) d_skip.add(0, t, dot);
    }
  }
}

/// Zeros in the rows of empty slots of a padded plan: products and weight gradients read them.
template <class T, class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
clear_empty_kernel(sparse_plan<C> p, index unit_rows, view<T> slots) {
  const index rows = index{p.begin[p.all_experts]} * unit_rows;
  for (index row = warp_rank(); row < rows; row += warp_total()) {
    if (p.token[row / unit_rows] >= 0) continue;
    for (index j = device::lane(); j < slots.cols; j += 32) slots.row(row)[j] = static_cast<T>(0.0f);
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
