// Rows of experts and of units, element by element or row by row: copies, gated activations, blocks of rows
// pooled for the router, and the loss-free bias.
//
// Numbers of rows are read from the segments on the device; grids are sized from bounds that the host knows.
#pragma once

#include "grouped_load.cuh"
#include "move.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

inline constexpr int row_threads = 256;

/// Number of this thread in the grid, and how many there are.
POLYMOE_DEVICE inline index thread_number() { return device::block_rank() * row_threads + device::thread_rank(); }
POLYMOE_DEVICE inline index thread_total() { return device::grid_size().volume() * row_threads; }
/// Rows that experts own in this call.
POLYMOE_DEVICE inline index owned_rows(const grouped::segments& s) { return s.end(s.experts - 1); }

/// to[s] = from[source(s)], zeros for slots without a source.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
copy_rows_kernel(grouped::segments rows, grouped::rows_of<T> from, view<T> to) {
  for (index row = warp_rank(); row < owned_rows(rows); row += warp_total()) {
    const int source = from.source_row(rows, static_cast<int>(row));
    for (index j = device::lane() * index{V}; j < to.cols; j += index{32} * V) {
      pack<T, V> a;
      if (source >= 0) {
        a = load_pack<T, V>(from.data + index{source} * from.stride + j);
      } else {
        for (int i = 0; i < V; ++i) a.v[i] = static_cast<T>(0.0f);
      }
      store_pack<T, V>(to.row(row) + j, a);
    }
  }
}

/// to += from[source(row)], for the rows that experts own.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    add_rows_kernel(grouped::segments rows, grouped::rows_of<T> from, view<T> to) {
  using C = compute_t<T>;
  for (index row = warp_rank(); row < owned_rows(rows); row += warp_total()) {
    const int source = from.source_row(rows, static_cast<int>(row));
    if (source < 0) continue;
    for (index j = device::lane() * index{V}; j < to.cols; j += index{32} * V) {
      const auto a = load_pack<T, V>(from.data + index{source} * from.stride + j);
      auto b = load_pack<T, V>(to.row(row) + j);
      for (int i = 0; i < V; ++i) store(b.v[i], static_cast<C>(b.v[i]) + static_cast<C>(a.v[i]));
      store_pack<T, V>(to.row(row) + j, b);
    }
  }
}

/// to = from, rows of bad units as zeros: what products may read although it holds anything.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
good_rows_kernel(const unsigned char* bad, index unit_rows, view<const T> from, view<T> to) {
  for (index row = warp_rank(); row < from.rows; row += warp_total())
    for (index j = device::lane() * index{V}; j < to.cols; j += index{32} * V) {
      pack<T, V> a;
      if (!bad[row / unit_rows]) {
        a = load_pack<T, V>(from.row(row) + j);
      } else {
        for (int i = 0; i < V; ++i) a.v[i] = static_cast<T>(0.0f);
      }
      store_pack<T, V>(to.row(row) + j, a);
    }
}

/// h = act(a).
template <class Act, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
activate_rows_kernel(grouped::segments rows, view<const T> a, view<T> h) {
  using C = compute_t<T>;
  for (index row = warp_rank(); row < owned_rows(rows); row += warp_total())
    for (index j = device::lane() * index{V}; j < h.cols; j += index{32} * V) {
      auto x = load_pack<T, V>(a.row(row) + j);
      for (int i = 0; i < V; ++i) store(x.v[i], Act{}(static_cast<C>(x.v[i])));
      store_pack<T, V>(h.row(row) + j, x);
    }
}
/// d_gate[s] += <d, hidden> + <dy, bias of the slot's expert> over the rows of slot s; then d and dy times the slot's
/// gate.  One warp a slot.  Slots without a unit and those of bad units have zeros in dy; their gate counts as 0.
template <class T, int V, class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, sizeof(T) == 2 ? 8 : 4)
fold_gates_kernel(grouped::segments rows, sparse_plan<C> p, const C* bias, view<T> d, view<const T> hidden, view<T> dy,
                  view<C> d_gate) {
  const index slots = owned_rows(rows) / rows.unit_rows;
  for (index slot = warp_rank(); slot < slots; slot += warp_total()) {
    const int t = p.token_at(static_cast<int>(slot));
    const C gate = t < 0 || p.bad[t] ? C(0) : p.gate.get(0, slot);
    const index first = slot * rows.unit_rows;
    int e = 0, end = rows.experts;  // the last expert that begins at or before the slot
    while (end - e > 1) {
      const int middle = e + (end - e) / 2;
      if (rows.begin(middle) <= first) e = middle;
      else end = middle;
    }
    C dot(0);
    for (index row = first; row < first + rows.unit_rows; ++row) {
      for (index j = device::lane() * index{V}; j < d.cols; j += index{32} * V) {
        auto x = load_pack<T, V>(d.row(row) + j);
        const auto h = load_pack<T, V>(hidden.row(row) + j);
        for (int i = 0; i < V; ++i) {
          dot += static_cast<C>(x.v[i]) * static_cast<C>(h.v[i]);
          store(x.v[i], gate * static_cast<C>(x.v[i]));
        }
        store_pack<T, V>(d.row(row) + j, x);
      }
      for (index j = device::lane() * index{V}; j < dy.cols; j += index{32} * V) {
        auto x = load_pack<T, V>(dy.row(row) + j);
        for (int i = 0; i < V; ++i) {
          if (bias) dot += static_cast<C>(x.v[i]) * bias[e * dy.cols + j + i];
          store(x.v[i], gate * static_cast<C>(x.v[i]));
        }
        store_pack<T, V>(dy.row(row) + j, x);
      }
    }
    dot = warp_group{}.sum(dot);
    if (device::lane() == 0 && t >= 0) d_gate.add(0, slot, dot);
  }
}
/// h = act(a) b.
template <class Act, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
activate_gated_kernel(grouped::segments rows, view<const T> a, view<const T> b, view<T> h) {
  using C = compute_t<T>;
  for (index row = warp_rank(); row < owned_rows(rows); row += warp_total())
    for (index j = device::lane() * index{V}; j < h.cols; j += index{32} * V) {
      const auto x = load_pack<T, V>(a.row(row) + j), up = load_pack<T, V>(b.row(row) + j);
      pack<T, V> out;
      for (int i = 0; i < V; ++i) store(out.v[i], Act{}(static_cast<C>(x.v[i])) * static_cast<C>(up.v[i]));
      store_pack<T, V>(h.row(row) + j, out);
    }
}
/// With d the gradient of h: a becomes d b act'(a), b becomes d act(a).
template <class Act, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
activate_gated_backward_kernel(grouped::segments rows, view<const T> d, view<T> a, view<T> b) {
  using C = compute_t<T>;
  for (index row = warp_rank(); row < owned_rows(rows); row += warp_total())
    for (index j = device::lane() * index{V}; j < d.cols; j += index{32} * V) {
      const auto g = load_pack<T, V>(d.row(row) + j);
      auto x = load_pack<T, V>(a.row(row) + j), up = load_pack<T, V>(b.row(row) + j);
      for (int i = 0; i < V; ++i) {
        const C gradient = static_cast<C>(g.v[i]), z = static_cast<C>(x.v[i]), y = static_cast<C>(up.v[i]);
        store(x.v[i], gradient * y * Act{}.grad(z));
        store(up.v[i], gradient * Act{}(z));
      }
      store_pack<T, V>(a.row(row) + j, x);
      store_pack<T, V>(b.row(row) + j, up);
    }
}

/// pooled[u] = sum of share(r) x[u, r].  A bad number in a row that has no share makes the unit's input bad as well:
/// its payload must not reach an expert.
template <class Unit, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(row_threads)
    pool_units_kernel(view<const T> x, index unit_rows, view<T> pooled) {
  using C = compute_t<T>;
  for (index i = thread_number(); i < pooled.rows * pooled.cols; i += thread_total()) {
    const index u = i / pooled.cols, j = i % pooled.cols;
    C sum(0);
    bool finite = true;
    for (index r = 0; r < unit_rows; ++r) {
      const C v = static_cast<C>(x.row(u * unit_rows + r)[j]);
      const double share = Unit::share(r, unit_rows);
      if (share != 0) sum += v * static_cast<C>(share);
      else finite = finite && math::is_finite(v);
    }
    pooled.set(u, j, finite ? sum : C(__builtin_nanf("")));
  }
}
/// dx[u, r] += share(r) d[u].
template <class Unit, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(row_threads)
    spread_units_kernel(view<const T> d, index unit_rows, view<T> dx) {
  using C = compute_t<T>;
  for (index i = thread_number(); i < dx.rows * dx.cols; i += thread_total()) {
    const index row = i / dx.cols, j = i % dx.cols;
    const double share = Unit::share(row % unit_rows, unit_rows);
    if (share != 0) dx.add(row, j, static_cast<C>(d.row(row / unit_rows)[j]) * static_cast<C>(share));
  }
}

/// The loss-free bias moves by `rate` towards balance, the loads are cleared; when *halted
/// they are forgotten.  One block.
template <int Threads>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads)
    move_bias_kernel(float* bias, float* load, int experts, float rate, const std::int32_t* halted) {
  const float by = halted && *halted ? 0.0f : rate;
  // Loads are whole numbers: E * load is compared with their sum, so that equal loads leave the bias alone, and the sum
  // has no rounding.
  double sum = 0;
  for (int e = 0; e < experts; ++e) sum += static_cast<double>(load[e]);
  device::sync_block();
  for (int e = device::thread_rank(); e < experts; e += Threads) {
    const double mine = static_cast<double>(load[e]) * experts;
    bias[e] += mine < sum ? by : (mine > sum ? -by : 0.0f);
    load[e] = 0;
  }
}

/// The coefficient of a balance loss follows the share of active scores since the last commit, as on the CPU; when
/// *halted what was seen is forgotten.
template <class Loss>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32)
    adapt_kernel(Loss loss, float* coefficient, float* active, int experts, const std::int32_t* halted) {
  if (device::thread_rank() != 0) return;
  if (active[1] > 0 && !(halted && *halted)) {
    const double share = static_cast<double>(active[0]) / static_cast<double>(active[1]);
    *coefficient = loss.adapted(*coefficient, share, experts);
  }
  active[0] = active[1] = 0;
}

/// price_sum [E + 1] += what the groups found [G, E], in order, and their number; groups of bad units left NaN.  One
/// block.
template <int Threads>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads)
    add_prices_kernel(const float* found, float* price_sum, int groups, int experts) {
  for (int e = device::thread_rank(); e <= experts; e += Threads) {
    float sum = price_sum[e];
    for (int g = 0; g < groups; ++g) {
      const float* const of_group = found + index{g} * experts;
      if (math::is_finite(of_group[0])) sum += e < experts ? of_group[e] : 1.0f;
    }
    price_sum[e] = sum;
  }
}
/// The prices of the next step, as on the CPU: the mean over the groups of this one, the sums are cleared; when *halted
/// they are forgotten.  One block.
template <int Threads>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads)
    commit_prices_kernel(float* price, float* price_sum, int experts, const std::int32_t* halted) {
  const float groups = halted && *halted ? 0.0f : price_sum[experts];
  device::sync_block();
  for (int e = device::thread_rank(); e <= experts; e += Threads) {
    if (e < experts && groups > 0) price[e] = price_sum[e] / groups;
    price_sum[e] = 0;
  }
}
/// Thresholds move by `rate` times the mean gap of the training calls since the last commit, as on the CPU; the sums
/// are cleared; when *halted they are forgotten.  One block.
template <int Threads>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads)
    move_thresholds_kernel(float* threshold, float* gap, int experts, float rate, const std::int32_t* halted) {
  const float calls = halted && *halted ? 0.0f : gap[experts];
  device::sync_block();
  for (int e = device::thread_rank(); e <= experts; e += Threads) {
    if (e < experts && calls > 0) threshold[e] += rate * gap[e] / calls;
    gap[e] = 0;
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
