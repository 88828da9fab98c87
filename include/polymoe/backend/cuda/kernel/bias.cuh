// The elementwise parts of dense layers: bias and activation after a product, rounded copies of weights, and the sums
// of rows that give bias gradients.
//
// A warp owns one row and walks its columns 16 bytes a lane at a time, as in move.cuh.  Sums over rows have two levels
// of fixed order: the warps of a block take rows in turn and are added in their order, blocks write partial sums that
// one thread a column adds in order.
#pragma once

#include "move.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

inline constexpr int row_sum_warps = 8;

/// V elements as numbers of the compute type, in accesses of at most 16 bytes.
template <int V, class T>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void load_numbers(const T* p, compute_t<T> (&to)[V]) {
  constexpr int most = 16 / static_cast<int>(sizeof(T)), step = V < most ? V : most;
  static_assert(V % step == 0, "polymoe: elements are loaded in whole accesses");
  POLYMOE_UNROLL
  for (int i = 0; i < V; i += step) {
    const auto a = load_pack<T, step>(p + i);
    POLYMOE_UNROLL
    for (int k = 0; k < step; ++k) to[i + k] = static_cast<compute_t<T>>(a.v[k]);
  }
}
/// The way back, rounded.
template <int V, class T>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void store_numbers(T* p, const compute_t<T> (&from)[V]) {
  constexpr int most = 16 / static_cast<int>(sizeof(T)), step = V < most ? V : most;
  static_assert(V % step == 0, "polymoe: elements are stored in whole accesses");
  POLYMOE_UNROLL
  for (int i = 0; i < V; i += step) {
    pack<T, step> a;
    POLYMOE_UNROLL
    for (int k = 0; k < step; ++k) store(a.v[k], from[i + k]);
    store_pack<T, step>(p + i, a);
  }
}

/// z = d + bias; before = z unless it is empty; d = act(z).  bias is [batch, cols] or empty, and each row of it is for
/// rows_each rows of d.
template <class Act, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 8)
    bias_activate_kernel(view<T> d, view<const T> bias, index rows_each, view<T> before) {
  for (index row = warp_rank(); row < d.rows; row += warp_total())
    for (index j = device::lane() * index{V}; j < d.cols; j += index{32} * V) {
      compute_t<T> z[V];
      load_numbers<V>(static_cast<const T*>(d.row(row)) + j, z);
      if (bias.ptr[0]) {
        compute_t<T> b[V];
        load_numbers<V>(bias.row(row / rows_each) + j, b);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) z[i] += b[i];
      }
      if (before.ptr[0]) store_numbers<V>(before.row(row) + j, z);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) z[i] = Act{}(z[i]);
      store_numbers<V>(d.row(row) + j, z);
    }
}

/// to = from, converted.
template <class To, class From, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 8) convert_kernel(view<const From> from, view<To> to) {
  for (index row = warp_rank(); row < to.rows; row += warp_total())
    for (index j = device::lane() * index{V}; j < to.cols; j += index{32} * V) {
      compute_t<From> x[V];
      load_numbers<V>(from.row(row) + j, x);
      compute_t<To> y[V];
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) y[i] = static_cast<compute_t<To>>(x[i]);
      store_numbers<V>(to.row(row) + j, y);
    }
}

/// Adds `sum` over the warps of a block, in their order; true on the lanes that hold the result, those of warp 0 that
/// are `inside`.  Needs 32 * row_sum_warps * V numbers of shared memory.
template <int V, class C>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE bool sum_over_warps(C (&sum)[V], bool inside) {
  // [warp][i][lane]: lanes next to each other use banks next to each other.
  C* const shared = device::shared<C>();
  POLYMOE_UNROLL
  for (int i = 0; i < V; ++i) shared[(device::warp() * V + i) * 32 + device::lane()] = sum[i];
  device::sync_block();
  const bool mine = inside && device::warp() == 0;
  if (mine)
    for (int w = 1; w < row_sum_warps; ++w) {
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum[i] += shared[(w * V + i) * 32 + device::lane()];
    }
  device::sync_block();  // before the memory is used again
  return mine;
}
/// The sums over rows first, first + step, ... (count of them) of V columns from j on, by all warps of the block; true
/// on the lanes that hold them (those of warp 0).  `each(row, numbers)` sees what was loaded.  Needs
/// row_sum_bytes<T, V>() of shared memory; columns beyond the view are skipped.
template <int V, class T, class Each>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE bool sum_rows(view<const T> x, index first, index step, index count, index j,
                                                   compute_t<T> (&sum)[V], Each each) {
  using C = compute_t<T>;
  POLYMOE_UNROLL
  for (int i = 0; i < V; ++i) sum[i] = C(0);
  const bool inside = j < x.cols;
  if (inside) {
    POLYMOE_UNROLL_BY(4)
    for (index r = device::warp(); r < count; r += row_sum_warps) {
      C a[V];
      load_numbers<V>(x.row(first + r * step) + j, a);
      each(first + r * step, a);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum[i] += a[i];
    }
  }
  return sum_over_warps<V>(sum, inside);
}
template <class T, int V>
constexpr std::size_t row_sum_bytes() {
  return sizeof(compute_t<T>) * 32 * row_sum_warps * V;
}

/// partial [parts * pieces, cols]: row e * pieces + p = the sum of the rows [p * per_piece, +per_piece) of part e of
/// x [parts * rows_each, cols]; parts are experts, or the whole is one.  Grid: strips of 32 V columns x parts * pieces.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * row_sum_warps, 4)
    column_sums_kernel(view<const T> x, index rows_each, index pieces, index per_piece, view<compute_t<T>> partial) {
  const index row = device::block_index().y, j = (index{device::block_index().x} * 32 + device::lane()) * V;
  const index begin = row % pieces * per_piece, left = rows_each - begin;
  const index count = left < per_piece ? left : per_piece;
  compute_t<T> sum[V];
  if (sum_rows<V>(x, row / pieces * rows_each + begin, 1, count, j, sum, [](index, const auto&) {}))
    for (int i = 0; i < V; ++i) partial.row(row)[j + i] = sum[i];
}
/// to [parts, cols] += the pieces of partial [parts * pieces, cols], in order.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(128) add_pieces_kernel(view<const C> partial, index pieces, view<C> to) {
  for (index i = device::block_rank() * 128 + device::thread_rank(); i < to.rows * to.cols;
       i += device::grid_size().volume() * 128) {
    const index e = i / to.cols, j = i % to.cols;
    C sum = partial.row(e * pieces)[j];
    for (index p = 1; p < pieces; ++p) sum += partial.row(e * pieces + p)[j];
    to.row(e)[j] += sum;
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
