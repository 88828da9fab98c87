// Token bookkeeping on CUDA: positions and class token, pooling, cutting images into patches.
//
// Everything gathers: a thread owns what it writes.  Sums over tokens or images have one order (sum_rows in bias.cuh),
// sums over the patches of a pixel go through the patches in order, as on the CPU.
#pragma once

#include "../../cpu/pool.hpp"
#include "bias.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

inline constexpr int pool_threads = 256;

/// A patch_shape with what kernels would divide for; made on the host.
struct patch_cut : patch_shape {
  index down_patches, across_patches;
  explicit patch_cut(const patch_shape& s) : patch_shape(s), down_patches(s.down()), across_patches(s.across()) {}
};

/// y [images * (tokens + first), D] = x with positions, the class token in row 0 of an image where first = 1.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 8)
    positions_kernel(index tokens, view<const T> x, view<const master_t<T>> position,
                     view<const master_t<T>> class_token, view<T> y) {
  const index first = class_token.ptr[0] ? 1 : 0, all = tokens + first;
  for (index r = warp_rank(); r < y.rows; r += warp_total()) {
    const index image = r / all, t = r % all;
    for (index j = device::lane() * index{V}; j < y.cols; j += index{32} * V) {
      compute_t<T> a[V], b[V];
      if (t < first)
        load_numbers<V>(class_token.row(0) + j, a);
      else
        load_numbers<V>(x.row(image * tokens + t - first) + j, a);
      load_numbers<V>(position.row(t) + j, b);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) a[i] += b[i];
      store_numbers<V>(y.row(r) + j, a);
    }
  }
}

/// dposition[t] += sum over images of dy, the class token's gradient alike, dx = dy without class rows.  Grid: strips
/// of 32 V columns x blocks that take tokens in turn.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * row_sum_warps, 4)
    positions_backward_kernel(index tokens, view<const T> dy, view<master_t<T>> dposition, view<master_t<T>> dclass,
                              view<T> dx) {
  const index first = dclass.ptr[0] ? 1 : 0, all = tokens + first, images = dy.rows / all;
  const index j = (index{device::block_index().x} * 32 + device::lane()) * V;
  for (index t = device::block_index().y; t < all; t += device::grid_size().y) {
    compute_t<T> sum[V];
    const bool keep = t >= first && dx.ptr[0];
    const bool mine = sum_rows<V>(dy, t, all, images, j, sum, [&](index row, const auto& numbers) {
      // Storing what was loaded rounds nothing: the numbers are T's.
      if (keep) store_numbers<V>(dx.row(row / all * tokens + t - first) + j, numbers);
    });
    if (!mine) continue;
    for (int i = 0; i < V; ++i) {
      dposition.add(t, j + i, sum[i]);
      if (t < first) dclass.add(0, j + i, sum[i]);
    }
  }
}

/// y [images, D] = mean over the tokens of an image.  Grid: strips of 32 V columns x blocks that take images in turn.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * row_sum_warps, 4)
    mean_pool_kernel(index tokens, view<const T> x, compute_t<T> per, view<T> y) {
  const index j = (index{device::block_index().x} * 32 + device::lane()) * V;
  for (index image = device::block_index().y; image < y.rows; image += device::grid_size().y) {
    compute_t<T> sum[V];
    if (!sum_rows<V>(x, image * tokens, 1, tokens, j, sum, [](index, const auto&) {})) continue;
    POLYMOE_UNROLL
    for (int i = 0; i < V; ++i) sum[i] *= per;
    store_numbers<V>(y.row(image) + j, sum);
  }
}
/// dx row = dy row of its image times `per`; only in first tokens, and 0 elsewhere, with First.
template <bool First, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 8)
    pool_backward_kernel(index tokens, view<const T> dy, compute_t<T> per, view<T> dx) {
  for (index r = warp_rank(); r < dx.rows; r += warp_total()) {
    const bool zero = First && r % tokens != 0;
    for (index j = device::lane() * index{V}; j < dx.cols; j += index{32} * V) {
      compute_t<T> a[V];
      if (zero) {
        for (int i = 0; i < V; ++i) a[i] = compute_t<T>(0);
      } else {
        load_numbers<V>(dy.row(r / tokens) + j, a);
        // The first token's gradient is a copy: a product by 1 would keep the bits too, but says something else.
        if constexpr (!First)
          for (int i = 0; i < V; ++i) a[i] *= per;
      }
      store_numbers<V>(dx.row(r) + j, a);
    }
  }
}
/// y [images, D] = the first token of each image.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 8)
    first_token_kernel(index tokens, view<const T> x, view<T> y) {
  for (index r = warp_rank(); r < y.rows; r += warp_total())
    for (index j = device::lane() * index{V}; j < y.cols; j += index{32} * V)
      store_pack<T, V>(y.row(r) + j, load_pack<T, V>(x.row(r * tokens) + j));
}

/// y [images * tokens, C * patch * patch] from x [images, C * height * width], V columns a thread.  Whole: the V
/// columns are next to each other in the image as well, all inside or all outside of it.
template <bool Whole, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(pool_threads, 2) patches_kernel(patch_cut s, view<const T> x, view<T> y) {
  const index packs = y.cols / V, across = s.across_patches, tokens = s.down_patches * across, area = s.patch * s.patch;
  const index step = device::grid_size().volume() * pool_threads;
  for (index i = device::block_rank() * pool_threads + device::thread_rank(); i < y.rows * packs; i += step) {
    const index r = i / packs, j = i % packs * V, image = r / tokens, t = r % tokens;
    const index top = t / across * s.stride - s.padding, left = t % across * s.stride - s.padding;
    const T* from = x.row(image);
    const auto offset = [&](index column) {
      const int c = static_cast<int>(column), in = c % static_cast<int>(area), p = static_cast<int>(s.patch);
      const index h = top + in / p, w = left + in % p;
      const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
      return inside ? (c / static_cast<int>(area) * s.height + h) * s.width + w : index{-1};
    };
    pack<T, V> a;
    if constexpr (Whole) {
      const index at = offset(j);
      if (at >= 0)
        a = load_pack<T, V>(from + at);
      else
        for (int k = 0; k < V; ++k) a.v[k] = static_cast<T>(0.0f);
    } else {
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) {
        const index at = offset(j + k);
        a.v[k] = at >= 0 ? from[at] : static_cast<T>(0.0f);
      }
    }
    store_pack<T, V>(y.row(r) + j, a);
  }
}

/// dx = for every pixel the sum of the gradients of its patches, patches in order, in the compute type.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(pool_threads, 2)
    patches_backward_kernel(patch_cut s, view<const T> dy, view<T> dx) {
  const index pixels = dx.cols, across = s.across_patches, down = s.down_patches, tokens = down * across;
  const index step = device::grid_size().volume() * pool_threads;
  for (index n = device::block_rank() * pool_threads + device::thread_rank(); n < dx.rows * pixels; n += step) {
    const index image = n / pixels;
    const int pixel = static_cast<int>(n % pixels), width = static_cast<int>(s.width),
              height = static_cast<int>(s.height);
    const index w = pixel % width + s.padding, h = pixel / width % height + s.padding, ch = pixel / width / height;
    // Patches that hold the pixel: those that start in (h - patch, h], and across alike.
    const index h_low = h < s.patch ? 0 : (h - s.patch) / s.stride + 1;
    const index w_low = w < s.patch ? 0 : (w - s.patch) / s.stride + 1;
    const index h_high = h / s.stride < down ? h / s.stride : down - 1;
    const index w_high = w / s.stride < across ? w / s.stride : across - 1;
    compute_t<T> sum(0);
    for (index i = h_low; i <= h_high; ++i)
      for (index k = w_low; k <= w_high; ++k)
        sum += dy.get(image * tokens + i * across + k, (ch * s.patch + h - i * s.stride) * s.patch + w - k * s.stride);
    dx.set(image, pixel, sum);
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
