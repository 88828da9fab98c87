// Positions, class tokens, pooling and patches on CUDA: the CPU's functions (cpu/pool.hpp) with the same arguments.
#pragma once

#include "../kernel/pool.cuh"
#include "move.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace detail {

/// Blocks of row_sum_warps warps: strips of columns x items, which blocks take in turn.
template <class T, int V>
device::launch_shape row_sum_shape(const char* kernel, const cuda_device::stream& s, index cols, index items) {
  const index strips = ceil_div(cols, 32 * V), most = ceil_div(index{s.blocks} * 8, strips > 0 ? strips : 1);
  return {.kernel = kernel,
          .grid = {static_cast<int>(strips), static_cast<int>(std::min({items, most, index{65535}}))},
          .block = 32 * kernel::row_sum_warps,
          .shared = kernel::row_sum_bytes<T, V>(),
          .stream = s.handle};
}
/// A thread an item, and no more blocks than eight times what runs at once.
inline device::launch_shape pool_items(const char* kernel, const cuda_device::stream& s, index items) {
  return {.kernel = kernel,
          .grid = static_cast<int>(std::min(ceil_div(items, kernel::pool_threads), index{s.blocks} * 8)),
          .block = kernel::pool_threads,
          .shared = 0,
          .stream = s.handle};
}
inline void check_patches(const char* what, const patch_shape& s, index images, index rows, index image_cols,
                          index patch_cols) {
  require(rows == images * s.tokens() && image_cols == s.image_size() && patch_cols == s.patch_size(), what, ": ",
          images, " images of ", image_cols, " numbers and ", rows, " patches of ", patch_cols, " do not fit ",
          s.tokens(), " patches of ", s.patch_size(), " in images of ", s.image_size());
  require(s.image_size() < index{1} << 31 && s.patch_size() < index{1} << 31, what, ": an image has ", s.image_size(),
          " numbers, a patch ", s.patch_size(), ": the limit is 2147483647");
}

}  // namespace detail

/// y [images * (tokens + first), D]: row `first + t` of an image is x row t plus position `first + t`; with first = 1,
/// row 0 is the class token plus position 0.
template <class T>
void positions_forward(context<cuda_device>& c, index tokens, view<const T> x, view<const master_t<T>> position,
                       view<const master_t<T>> class_token, view<T> y) {
  const auto shape = detail::warp_rows("positions", c.stream, y.rows);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::positions_kernel<T, V::value>, tokens, x, position, class_token, y);
      },
      x, position, class_token, y);
}
/// dposition += sums of dy over images, in a fixed order; dx = dy without class rows (dx may be empty).
template <class T>
void positions_backward(context<cuda_device>& c, index tokens, view<const T> dy, view<master_t<T>> dposition,
                        view<master_t<T>> dclass, view<T> dx) {
  if (dy.rows == 0) return;
  detail::with_access<T>(
      [&]<class V>(V) {
        const auto shape = detail::row_sum_shape<T, V::value>("positions backward", c.stream, dy.cols,
                                                              tokens + (dclass.ptr[0] ? 1 : 0));
        device::launch(shape, kernel::positions_backward_kernel<T, V::value>, tokens, dy, dposition, dclass, dx);
      },
      dy, dx);
}

/// y [images, D] = mean over the tokens of an image.
template <class T>
void mean_pool_forward(context<cuda_device>& c, index tokens, view<const T> x, view<T> y) {
  using S = compute_t<T>;
  detail::with_access<T>(
      [&]<class V>(V) {
        const auto shape = detail::row_sum_shape<T, V::value>("mean pool", c.stream, y.cols, y.rows);
        device::launch(shape, kernel::mean_pool_kernel<T, V::value>, tokens, x, S(1) / static_cast<S>(tokens), y);
      },
      x, y);
}
/// dx row = dy row of its image / tokens.
template <class T>
void mean_pool_backward(context<cuda_device>& c, index tokens, view<const T> dy, view<T> dx) {
  using S = compute_t<T>;
  const auto shape = detail::warp_rows("mean pool backward", c.stream, dx.rows);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::pool_backward_kernel<false, T, V::value>, tokens, dy,
                       S(1) / static_cast<S>(tokens), dx);
      },
      dy, dx);
}

/// y [images, D] = the first token of each image.
template <class T>
void first_token_forward(context<cuda_device>& c, index tokens, view<const T> x, view<T> y) {
  const auto shape = detail::warp_rows("first token", c.stream, y.rows);
  detail::with_access<T>(
      [&]<class V>(V) { device::launch(shape, kernel::first_token_kernel<T, V::value>, tokens, x, y); }, x, y);
}
/// dx = dy in first tokens, 0 elsewhere.
template <class T>
void first_token_backward(context<cuda_device>& c, index tokens, view<const T> dy, view<T> dx) {
  const auto shape = detail::warp_rows("first token backward", c.stream, dx.rows);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::pool_backward_kernel<true, T, V::value>, tokens, dy, compute_t<T>(1), dx);
      },
      dy, dx);
}

/// y [images * tokens, channels * patch * patch] from x [images, channels * height * width].
template <class T>
void patches_forward(context<cuda_device>& c, const patch_shape& s, view<const T> x, view<T> y) {
  detail::check_patches("patches", s, x.rows, y.rows, x.cols, y.cols);
  detail::with_access<T>(
      [&]<class V>(V) {
        const auto shape = detail::pool_items("patches", c.stream, y.rows * (y.cols / V::value));
        // Where every border is a multiple of an access, the pixels of an access lie together in the image.
        const auto even = [](index n) { return n % V::value == 0; };
        if (V::value > 1 && even(s.patch) && even(s.stride) && even(s.padding) && even(s.width))
          device::launch(shape, kernel::patches_kernel<true, T, V::value>, s, x, y);
        else
          device::launch(shape, kernel::patches_kernel<false, T, V::value>, s, x, y);
      },
      x, y);
}
/// dx = for every pixel the sum of the gradients of its patches, patches in order, summed in the compute type.
template <class T>
void patches_backward(context<cuda_device>& c, const patch_shape& s, view<const T> dy, view<T> dx) {
  detail::check_patches("patches backward", s, dx.rows, dy.rows, dx.cols, dy.cols);
  device::launch(detail::pool_items("patches backward", c.stream, dx.size()), kernel::patches_backward_kernel<T>, s, dy,
                 dx);
}

}  // namespace backend
}  // namespace polymoe
