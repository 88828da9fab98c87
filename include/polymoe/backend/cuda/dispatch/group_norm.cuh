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

/// x -> y = act(norm(x)) and the statistics, for the maps of experts (`own`) or for all.
template <class Act, class T>
void group_norm_rows(context<cuda_device>& c, const group_norm_shape& s, const kernel::map_owners& own, view<const T> x,
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
                 kernel::group_norm_stats_kernel<T>, kernel::group_norm_sizes(s), own, x, static_cast<C>(s.eps),
                 stats.rows_at(0, items));
  with_access<T>(
      [&]<class V>(V) {
        device::launch(warp_rows("group_norm", c.stream, x.rows), kernel::group_norm_kernel<Act, T, V::value>,
                       kernel::group_norm_sizes(s), own, x, stats, weight, bias, y);
      },
      x, weight, bias, y);
}
/// The sums over each map that the gradients are made of, into m.products and m.sums.
template <class Act, class T>
void group_norm_map_sums(context<cuda_device>& c, const group_norm_shape& s, const kernel::map_owners& own,
                         view<const T> dy, view<const T> x, view<const compute_t<T>> stats,
                         view<const master_t<T>> weight, view<const master_t<T>> bias, const group_norm_parts<T>& m) {
  with_access<T>(
      [&]<class V>(V) {
        auto shape = row_sum_shape<T, V::value>("group_norm sums", c.stream, dy.cols, m.sums.rows);
        shape.shared *= 2;
        device::launch(shape, kernel::group_norm_sums_kernel<Act, T, V::value>, kernel::group_norm_sizes(s), own, dy, x,
                       stats, weight, bias, m.products, m.sums);
      },
      dy, x, weight, bias);
}
/// dx = the gradient of the input + skip, from those sums.
template <class Act, class T>
void group_norm_input_gradient(context<cuda_device>& c, const group_norm_shape& s, const kernel::map_owners& own,
                               view<const T> dy, view<const T> x, view<const compute_t<T>> stats,
                               view<const master_t<T>> weight, view<const master_t<T>> bias,
                               const group_norm_parts<T>& m, view<const T> skip, view<T> dx) {
  const kernel::group_norm_sizes sizes(s);
  device::launch({.kernel = "group_norm means",
                  .grid = static_cast<int>(std::min(ceil_div(m.means.rows, 128), index{c.stream.blocks} * 8)),
                  .block = 128,
                  .shared = 0,
                  .stream = c.stream.handle},
                 kernel::group_norm_means_kernel<compute_t<T>>, sizes, own, m.products, m.sums, weight, m.means);
  with_access<T>(
      [&]<class V>(V) {
        device::launch(warp_rows("group_norm backward", c.stream, dx.rows),
                       kernel::group_norm_input_kernel<Act, T, V::value>, sizes, own, dy, x, stats, m.means, weight,
                       bias, skip, dx);
      },
      dy, x, weight, bias, skip, dx);
}
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
  detail::group_norm_rows<act::identity, T>(c, s, {}, x, weight, bias, y, stats);
}
/// dweight and dbias += sums over images, in order; dx (which may be empty) = the gradient of the input + skip.
template <class T>
void group_norm_backward(context<cuda_device>& c, const group_norm_shape& s, view<const T> dy, view<const T> x,
                         view<const compute_t<T>> stats, view<const master_t<T>> weight, view<const master_t<T>> bias,
                         view<master_t<T>> dweight, view<master_t<T>> dbias, view<T> dx, view<const T> skip) {
  const index images = dy.rows / s.pixels;
  if (images == 0) return;
  arena_scope all(c.scratch);
  const detail::group_norm_parts<T> m(c.scratch, s, images);
  detail::group_norm_map_sums<act::identity, T>(c, s, {}, dy, x, stats, weight, bias, m);
  detail::add_row_pieces<compute_t<T>>(c.stream, m.products, images, dweight);
  detail::add_row_pieces<compute_t<T>>(c.stream, m.sums, images, dbias);
  if (dx.ptr[0]) detail::group_norm_input_gradient<act::identity, T>(c, s, {}, dy, x, stats, weight, bias, m, skip, dx);
}

}  // namespace backend
}  // namespace polymoe
