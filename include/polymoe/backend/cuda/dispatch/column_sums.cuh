// Sums of rows on CUDA, of a whole matrix or of each expert's equally many rows: bias gradients.
//
// Two levels of fixed order: a block adds the rows of a piece, then one thread a column adds the pieces in their order.
#pragma once

#include "../kernel/bias.cuh"
#include "rows.cuh"

namespace polymoe::inline v0 {
namespace backend::detail {

/// Row ranges of one part whose sums are formed side by side: functions of the sizes only.
struct row_pieces {
  index each = 1, count = 1;  ///< rows of a piece, pieces
};
/// Grows with the rows: what memory is bound for.
constexpr index most_row_pieces(index rows, index parts = 1) {
  const index wanted = rows <= 128 ? 1 : ceil_div(rows, 128), most = parts < 256 ? 256 / parts : 1;
  return wanted < most ? wanted : most;
}
constexpr row_pieces row_pieces_of(index rows, index parts = 1) {
  if (rows < 1) return {};
  const index each = ceil_div(rows, most_row_pieces(rows, parts));
  return {each, ceil_div(rows, each)};
}

/// partial [parts * pieces, cols] = the sums of the pieces of x [parts * rows_each, cols].
template <class T>
void sum_row_pieces(const cuda_device::stream& s, view<const T> x, index parts, index rows_each,
                    view<compute_t<T>> partial) {
  const row_pieces p = row_pieces_of(rows_each, parts);
  with_access<T>(
      [&]<class V>(V) {
        const device::launch_shape shape{
            .kernel = "sums of columns",
            .grid = {static_cast<int>(ceil_div(x.cols, 32 * V::value)), static_cast<int>(parts * p.count)},
            .block = 32 * kernel::row_sum_warps,
            .shared = kernel::row_sum_bytes<T, V::value>(),
            .stream = s.handle};
        device::launch(shape, kernel::column_sums_kernel<T, V::value>, x, rows_each, p.count, p.each, partial);
      },
      x);
}
/// to [parts, cols] += the rows of partial [parts * pieces, cols].
template <class C>
void add_row_pieces(const cuda_device::stream& s, view<const C> partial, index pieces, view<C> to) {
  const index blocks = ceil_div(to.rows * to.cols, 128), most = index{s.blocks} * 8;
  device::launch({.kernel = "add sums of columns",
                  .grid = static_cast<int>(blocks < most ? blocks : most),
                  .block = 128,
                  .shared = 0,
                  .stream = s.handle},
                 kernel::add_pieces_kernel<C>, partial, pieces, to);
}
/// to [parts, cols] += the sums of x's columns over each part; `partial` has parts * most_row_pieces(rows_each, parts)
/// rows or more.
template <class T>
void add_column_sums(const cuda_device::stream& s, view<const T> x, index rows_each, view<compute_t<T>> partial,
                     view<compute_t<T>> to) {
  sum_row_pieces<T>(s, x, to.rows, rows_each, partial);
  add_row_pieces<compute_t<T>>(s, partial, row_pieces_of(rows_each, to.rows).count, to);
}

}  // namespace backend::detail
}  // namespace polymoe
