// Sums of rows per expert where every expert has the same number of them: bias gradients beside batched products.
//
// Two levels of fixed order: a block adds the rows of a piece of one expert (bias.cuh), then one thread a column adds
// the pieces in their order.
#pragma once

#include "bias.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// partial [E * pieces, cols]: row e * pieces + p = the sum of the rows [p * per_piece, +per_piece) of expert e in
/// x [E * rows_each, cols].  Grid: strips of 32 V columns x E * pieces.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * row_sum_warps, 4)
    expert_sums_kernel(view<const T> x, index rows_each, index pieces, index per_piece, view<compute_t<T>> partial) {
  const index row = device::block_index().y, j = (index{device::block_index().x} * 32 + device::lane()) * V;
  const index begin = row % pieces * per_piece, left = rows_each - begin;
  const index count = left < per_piece ? left : per_piece;
  compute_t<T> sum[V];
  if (sum_rows<V>(x, row / pieces * rows_each + begin, 1, count, j, sum, [](index, const auto&) {}))
    for (int i = 0; i < V; ++i) partial.row(row)[j + i] = sum[i];
}
/// to [E, cols] += the pieces of partial [E * pieces, cols], in order.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(128) add_expert_sums_kernel(view<const C> partial, index pieces, view<C> to) {
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
