// Group normalisation on CUDA: statistics of one group of an image by one block, everything else by rows.
//
// The variance is that of differences from the mean.  Sums have one order: a thread's numbers, the lanes of a warp, the
// warps of a block; gradients of parameters are summed over the pixels of an image, then over images in order.
//
// Weight and bias are [1, channels], or a row for each expert whose images these are (map_owners).  An activation may
// follow: y = act(norm(x)), and dy is then multiplied by its derivative on the way.
#pragma once

#include "../../cpu/group_norm.hpp"
#include "bias.cuh"
#include "map_owners.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

inline constexpr int group_norm_warps = 8;

/// Sizes as kernels use them.
struct group_norm_sizes {
  int pixels, width, groups;
  explicit group_norm_sizes(const group_norm_shape& s)
      : pixels(static_cast<int>(s.pixels)), width(static_cast<int>(s.width())), groups(static_cast<int>(s.groups)) {}
  POLYMOE_DEVICE index image(index row) const { return row / pixels; }
  /// Row of the statistics for a row of x and a channel.
  POLYMOE_DEVICE index of(index row, index channel) const {
    return row / pixels * groups + static_cast<int>(channel) / width;
  }
};

/// stats [images * groups, 2] = mean and 1 / sqrt(var + eps).  Grid: blocks that take groups in turn.  Shared memory: a
/// number a warp.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * group_norm_warps)
    group_norm_stats_kernel(group_norm_sizes s, map_owners own, view<const T> x, compute_t<T> eps,
                            view<compute_t<T>> stats) {
  using C = compute_t<T>;
  C* const shared = device::shared<C>();
  const int count = s.pixels * s.width;
  const C per = C(1) / static_cast<C>(count);
  for (index item = device::block_rank(); item < stats.rows; item += device::grid_size().volume()) {
    if (own.nobodys(item / s.groups)) return;
    const index first = item / s.groups * s.pixels, channel = item % s.groups * s.width;
    const auto mean_of = [&](auto f) {
      C sum(0);
      for (int i = device::thread_rank(); i < count; i += 32 * group_norm_warps)
        sum += f(x.get(first + i / s.width, channel + i % s.width));
      sum = warp_group{}.sum(sum);
      device::sync_block();  // the last sums have been read
      if (device::lane() == 0) shared[device::warp()] = sum;
      device::sync_block();
      sum = C(0);
      for (int w = 0; w < group_norm_warps; ++w) sum += shared[w];
      return per * sum;
    };
    const C mean = mean_of([](C v) { return v; });
    const C variance = mean_of([mean](C v) { return (v - mean) * (v - mean); });
    if (device::thread_rank() == 0) {
      stats.row(item)[0] = mean;
      stats.row(item)[1] = C(1) / math::sqrt(variance + eps);
    }
  }
}

/// y = act((x - mean) scale weight + bias).
template <class Act, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    group_norm_kernel(group_norm_sizes s, map_owners own, view<const T> x, view<const compute_t<T>> stats,
                      view<const master_t<T>> weight, view<const master_t<T>> bias, view<T> y) {
  for (index r = warp_rank(); r < y.rows; r += warp_total()) {
    if (own.nobodys(s.image(r))) return;
    const index e = own.expert_of(s.image(r));
    for (index j = device::lane() * index{V}; j < y.cols; j += index{32} * V) {
      compute_t<T> a[V], w[V], b[V];
      load_numbers<V>(x.row(r) + j, a);
      load_numbers<V>(weight.row(e) + j, w), load_numbers<V>(bias.row(e) + j, b);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) {
        const compute_t<T>* m = stats.row(s.of(r, j + i));
        a[i] = Act{}((a[i] - m[0]) * m[1] * w[i] + b[i]);
      }
      store_numbers<V>(y.row(r) + j, a);
    }
  }
}

/// d times the derivative of act at (x - mean) scale weight + bias, for V channels from j on of a row of x.
template <class Act, class T, int V>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void group_norm_activation(const group_norm_sizes& s, index row, index j,
                                                                const compute_t<T> (&a)[V],
                                                                view<const compute_t<T>> stats,
                                                                const master_t<T>* weight, const master_t<T>* bias,
                                                                compute_t<T> (&d)[V]) {
  if constexpr (!std::is_same_v<Act, act::identity>) {
    compute_t<T> w[V], b[V];
    load_numbers<V>(weight + j, w), load_numbers<V>(bias + j, b);
    POLYMOE_UNROLL
    for (int i = 0; i < V; ++i) {
      const compute_t<T>* m = stats.row(s.of(row, j + i));
      d[i] *= Act{}.grad((a[i] - m[0]) * m[1] * w[i] + b[i]);
    }
  }
}

/// products and sums [images, channels] = the sums over an image's pixels of dy xhat and of dy, dy times act'.  Grid:
/// strips of 32 V channels x blocks that take images in turn.  Shared memory: twice row_sum_bytes<T, V>().
template <class Act, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * row_sum_warps)
    group_norm_sums_kernel(group_norm_sizes s, map_owners own, view<const T> dy, view<const T> x,
                           view<const compute_t<T>> stats, view<const master_t<T>> weight, view<const master_t<T>> bias,
                           view<compute_t<T>> products, view<compute_t<T>> sums) {
  using C = compute_t<T>;
  const index j = (index{device::block_index().x} * 32 + device::lane()) * V;
  for (index image = device::block_index().y; image < sums.rows; image += device::grid_size().y) {
    if (own.nobodys(image)) return;
    const index e = own.expert_of(image);
    C both[2 * V];  // products, then sums
    POLYMOE_UNROLL
    for (int i = 0; i < 2 * V; ++i) both[i] = C(0);
    for (index p = device::warp(); j < dy.cols && p < s.pixels; p += row_sum_warps) {
      C d[V], a[V];
      load_numbers<V>(dy.row(image * s.pixels + p) + j, d);
      load_numbers<V>(x.row(image * s.pixels + p) + j, a);
      group_norm_activation<Act, T, V>(s, image * s.pixels, j, a, stats, weight.row(e), bias.row(e), d);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) {
        const C* m = stats.row(s.of(image * s.pixels, j + i));
        both[i] += d[i] * ((a[i] - m[0]) * m[1]);
        both[V + i] += d[i];
      }
    }
    if (sum_over_warps<2 * V>(both, j < dy.cols))
      for (int i = 0; i < V; ++i) products.row(image)[j + i] = both[i], sums.row(image)[j + i] = both[V + i];
  }
}
/// means [images * groups, 2] = the means over a group of dy weight and of dy weight xhat.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(128)
    group_norm_means_kernel(group_norm_sizes s, map_owners own, view<const C> products, view<const C> sums,
                            view<const C> weight, view<C> means) {
  const C per = C(1) / (static_cast<C>(s.pixels) * static_cast<C>(s.width));
  for (index item = device::block_rank() * 128 + device::thread_rank(); item < means.rows;
       item += device::grid_size().volume() * 128) {
    if (own.nobodys(item / s.groups)) return;
    const index e = own.expert_of(item / s.groups), image = item / s.groups, first = item % s.groups * s.width;
    C plain(0), along(0);
    for (index k = first; k < first + s.width; ++k)
      plain += weight.row(e)[k] * sums.row(image)[k], along += weight.row(e)[k] * products.row(image)[k];
    means.row(item)[0] = per * plain, means.row(item)[1] = per * along;
  }
}
/// dx = scale (dy weight - mean(dy weight) - xhat mean(dy weight xhat)) + skip, which may be empty; dy times act'.  dx
/// may be x.
template <class Act, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    group_norm_input_kernel(group_norm_sizes s, map_owners own, view<const T> dy, view<const T> x,
                            view<const compute_t<T>> stats, view<const compute_t<T>> means,
                            view<const master_t<T>> weight, view<const master_t<T>> bias, view<const T> skip,
                            view<T> dx) {
  using C = compute_t<T>;
  for (index r = warp_rank(); r < dx.rows; r += warp_total()) {
    if (own.nobodys(s.image(r))) return;
    const index e = own.expert_of(s.image(r));
    for (index j = device::lane() * index{V}; j < dx.cols; j += index{32} * V) {
      C d[V], a[V], w[V];
      load_numbers<V>(dy.row(r) + j, d), load_numbers<V>(x.row(r) + j, a);
      group_norm_activation<Act, T, V>(s, r, j, a, stats, weight.row(e), bias.row(e), d);
      load_numbers<V>(weight.row(e) + j, w);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) {
        const index g = s.of(r, j + i);
        const C *m = stats.row(g), *mean = means.row(g);
        d[i] = m[1] * (d[i] * w[i] - mean[0] - (a[i] - m[0]) * m[1] * mean[1]);
      }
      if (skip.ptr[0]) {
        load_numbers<V>(skip.row(r) + j, w);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) d[i] += w[i];
      }
      store_numbers<V>(dx.row(r) + j, d);
    }
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
