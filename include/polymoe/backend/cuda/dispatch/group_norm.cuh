// Group normalisation on CUDA: the CPU's functions (cpu/group_norm.hpp) with the same arguments; two launches forward,
// five backward.
#pragma once

#include "../kernel/group_norm.cuh"
#include "column_sums.cuh"
#include "pool.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace detail {
/// What backward adds up on the way.
template <class T>
struct group_norm_parts {
  view<compute_t<T>> products, sums;  ///< [images, channels]
  view<compute_t<T>> means;           ///< [images * groups, 2]
  group_norm_parts(arena& a, const group_norm_shape& s, index images)
      : products(a.take<compute_t<T>>(images, s.channels)),
        sums(a.take<compute_t<T>>(images, s.channels)),
        means(a.take<compute_t<T>>(images * s.groups, 2)) {}
};
}  // namespace detail

/// Measures the scratch of group_norm_backward.
template <class T>
void group_norm_bind(binder<cuda_device>& b, const group_norm_shape& s, index max_images) {
  require(s.pixels * s.width() < index{1} << 31, "group_norm: a group of ", s.pixels, " pixels of ", s.width(),
          " channels exceeds 2147483647 numbers");
  arena_scope all(b.scratch);
  const detail::group_norm_parts<T> measured(b.scratch, s, max_images);
  static_cast<void>(measured);
}

/// x [images * pixels, channels] -> y; stats [images * groups, 2].
template <class T>
void group_norm_forward(context<cuda_device>& c, const group_norm_shape& s, view<const T> x,
                        view<const master_t<T>> weight, view<const master_t<T>> bias, view<T> y,
                        view<compute_t<T>> stats) {
  using C = compute_t<T>;
  const index items = x.rows / s.pixels * s.groups;
  if (items == 0) return;
  device::launch({.kernel = "group_norm statistics",
                  .grid = static_cast<int>(std::min(items, index{c.stream.blocks} * 8)),
                  .block = 32 * kernel::group_norm_warps,
                  .shared = kernel::group_norm_warps * sizeof(C),
                  .stream = c.stream.handle},
                 kernel::group_norm_stats_kernel<T>, kernel::group_norm_sizes(s), x, static_cast<C>(s.eps),
                 stats.rows_at(0, items));
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("group_norm", c.stream, x.rows), kernel::group_norm_kernel<T, V::value>,
                       kernel::group_norm_sizes(s), x, stats, weight, bias, y);
      },
      x, weight, bias, y);
}
/// dweight and dbias += sums over images, in order; dx (which may be empty) = the gradient of the input + skip.
template <class T>
void group_norm_backward(context<cuda_device>& c, const group_norm_shape& s, view<const T> dy, view<const T> x,
                         view<const compute_t<T>> stats, view<const master_t<T>> weight,
                         view<const master_t<T>> /*bias*/, view<master_t<T>> dweight, view<master_t<T>> dbias,
                         view<T> dx, view<const T> skip) {
  using C = compute_t<T>;
  const index images = dy.rows / s.pixels;
  if (images == 0) return;
  arena_scope all(c.scratch);
  const detail::group_norm_parts<T> m(c.scratch, s, images);
  const kernel::group_norm_sizes sizes(s);
  detail::with_access<T>(
      [&]<class V>(V) {
        auto shape = detail::row_sum_shape<T, V::value>("group_norm sums", c.stream, dy.cols, images);
        shape.shared *= 2;
        device::launch(shape, kernel::group_norm_sums_kernel<T, V::value>, sizes, dy, x, stats, m.products, m.sums);
      },
      dy, x);
  detail::add_row_pieces<C>(c.stream, m.products, images, dweight);
  detail::add_row_pieces<C>(c.stream, m.sums, images, dbias);
  if (!dx.ptr[0]) return;
  device::launch({.kernel = "group_norm means",
                  .grid = static_cast<int>(std::min(ceil_div(m.means.rows, 128), index{c.stream.blocks} * 8)),
                  .block = 128,
                  .shared = 0,
                  .stream = c.stream.handle},
                 kernel::group_norm_means_kernel<C>, sizes, m.products, m.sums, weight, m.means);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("group_norm backward", c.stream, dx.rows),
                       kernel::group_norm_input_kernel<T, V::value>, sizes, dy, x, stats, m.means, weight, skip, dx);
      },
      dy, x, weight, skip, dx);
}

}  // namespace backend
}  // namespace polymoe
