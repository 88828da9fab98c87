// Batch normalisation on CUDA: sums of columns in two levels of fixed order, then rows.
//
// A block adds the rows of a piece; one thread a column adds the pieces in order and makes of the sums what is wanted.
#pragma once

#include "../../cpu/batch_norm.hpp"
#include "bias.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// Which two sums over rows are formed.
enum class column_pair {
  values,     ///< x, nothing
  deviations, ///< d^2 and d with d = x - mean
  gradients   ///< dy xhat and dy
};

/// partial [2 * pieces, cols] = both sums of the pieces of `each` rows.  Grid: strips of 32 V columns x pieces.  Shared
/// memory: twice row_sum_bytes<T, V>().
template <column_pair Pair, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * row_sum_warps)
    column_pairs_kernel(view<const T> x, view<const T> dy, view<const compute_t<T>> stats, index each,
                        view<compute_t<T>> partial) {
  using C = compute_t<T>;
  const index j = (index{device::block_index().x} * 32 + device::lane()) * V, piece = device::block_index().y;
  const index last = (piece + 1) * each, end = last < x.rows ? last : x.rows;
  C sums[2 * V], mean[V], scale[V];  // the first sums, then the second ones
  POLYMOE_UNROLL
  for (int i = 0; i < V; ++i) {
    sums[i] = sums[V + i] = C(0);
    const bool read = Pair != column_pair::values && j < x.cols;
    mean[i] = read ? stats.row(0)[j + i] : C(0), scale[i] = read ? stats.row(1)[j + i] : C(0);
  }
  for (index r = piece * each + device::warp(); j < x.cols && r < end; r += row_sum_warps) {
    C a[V], d[V];
    load_numbers<V>(x.row(r) + j, a);
    if constexpr (Pair == column_pair::gradients) load_numbers<V>(dy.row(r) + j, d);
    POLYMOE_UNROLL
    for (int i = 0; i < V; ++i) {
      if constexpr (Pair == column_pair::values) {
        sums[i] += a[i];
      } else if constexpr (Pair == column_pair::deviations) {
        const C off = a[i] - mean[i];
        sums[i] += off * off, sums[V + i] += off;
      } else {
        sums[i] += d[i] * ((a[i] - mean[i]) * scale[i]), sums[V + i] += d[i];
      }
    }
  }
  if (sum_over_warps<2 * V>(sums, j < x.cols))
    for (int i = 0; i < V; ++i) {
      partial.row(2 * piece)[j + i] = sums[i], partial.row(2 * piece + 1)[j + i] = sums[V + i];
    }
}

/// Of the sums of all pieces: the mean; the variance to work[0] and the scale, of column_pair::deviations; or, of
/// gradients, both sums to work and to the gradients of the parameters.
template <column_pair Pair, class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(128)
    column_pairs_join_kernel(view<const C> partial, index pieces, C per, C eps, view<C> stats, view<C> work,
                             view<C> dweight, view<C> dbias) {
  for (index k = device::block_rank() * 128 + device::thread_rank(); k < work.cols;
       k += device::grid_size().volume() * 128) {
    C first(0), second(0);
    for (index p = 0; p < pieces; ++p) first += partial.row(2 * p)[k], second += partial.row(2 * p + 1)[k];
    if constexpr (Pair == column_pair::values) {
      stats.row(0)[k] = per * first;
    } else if constexpr (Pair == column_pair::deviations) {
      const C variance = per * (first - per * second * second);
      work.row(0)[k] = variance, stats.row(1)[k] = C(1) / math::sqrt(variance + eps);
    } else {
      work.row(0)[k] = first, work.row(1)[k] = second;
      dweight.row(0)[k] += first, dbias.row(0)[k] += second;
    }
  }
}

/// found [2 channels + 1] += the mean, `unbiased` times the variance, and one.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(128)
    batch_norm_note_kernel(double unbiased, view<const C> stats, view<const C> work, float* found) {
  const index n = stats.cols;
  for (index k = device::block_rank() * 128 + device::thread_rank(); k < n; k += device::grid_size().volume() * 128) {
    found[k] += static_cast<float>(stats.row(0)[k]);
    found[n + k] += static_cast<float>(unbiased * static_cast<double>(work.row(0)[k]));
    if (k == 0) found[2 * n] += 1;
  }
}
/// stats [2, channels] of the running mean and variance.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(128)
    batch_norm_recall_kernel(const float* mean, const float* var, double eps, view<C> stats) {
  for (index k = device::block_rank() * 128 + device::thread_rank(); k < stats.cols;
       k += device::grid_size().volume() * 128) {
    stats.row(0)[k] = static_cast<C>(mean[k]);
    stats.row(1)[k] = static_cast<C>(1.0 / math::sqrt(static_cast<double>(var[k]) + eps));
  }
}
/// The running statistics take in what was found, unless the step was refused.  One block.
template <int Threads>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads)
    batch_norm_commit_kernel(const int* halted, double share, index channels, float* mean, float* var, float* found) {
  const float calls = found[2 * channels];
  const bool keep = !(halted && *halted) && calls > 0;
  device::sync_block();  // everybody knows the number of calls before it starts anew
  const double per = keep ? 1.0 / static_cast<double>(calls) : 0.0;
  for (index k = device::thread_rank(); k < channels; k += Threads) {
    if (keep) {
      mean[k] = static_cast<float>((1 - share) * static_cast<double>(mean[k]) +
                                   share * per * static_cast<double>(found[k]));
      var[k] = static_cast<float>((1 - share) * static_cast<double>(var[k]) +
                                  share * per * static_cast<double>(found[channels + k]));
    }
    found[k] = found[channels + k] = 0.0f;
  }
  if (device::thread_rank() == 0) found[2 * channels] = 0.0f;
}

/// y = (x - mean) scale weight + bias.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    batch_norm_kernel(view<const T> x, view<const compute_t<T>> stats, view<const master_t<T>> weight,
                      view<const master_t<T>> bias, view<T> y) {
  for (index r = warp_rank(); r < y.rows; r += warp_total())
    for (index j = device::lane() * index{V}; j < y.cols; j += index{32} * V) {
      compute_t<T> a[V], b[V];
      load_numbers<V>(x.row(r) + j, a);
      load_numbers<V>(stats.row(0) + j, b);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) a[i] -= b[i];
      load_numbers<V>(stats.row(1) + j, b);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) a[i] *= b[i];
      load_numbers<V>(weight.row(0) + j, b);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) a[i] *= b[i];
      load_numbers<V>(bias.row(0) + j, b);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) a[i] += b[i];
      store_numbers<V>(y.row(r) + j, a);
    }
}
/// dx = scale weight (dy - per (sums + xhat products)) + skip; sums = work[1], products = work[0].
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    batch_norm_input_kernel(view<const T> dy, view<const T> x, view<const compute_t<T>> stats,
                            view<const compute_t<T>> work, compute_t<T> per, view<const master_t<T>> weight,
                            view<const T> skip, view<T> dx) {
  using C = compute_t<T>;
  for (index r = warp_rank(); r < dx.rows; r += warp_total())
    for (index j = device::lane() * index{V}; j < dx.cols; j += index{32} * V) {
      C d[V], a[V], b[V];
      load_numbers<V>(dy.row(r) + j, d), load_numbers<V>(x.row(r) + j, a);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) {
        const C scale = stats.row(1)[j + i], xhat = (a[i] - stats.row(0)[j + i]) * scale;
        d[i] = scale * weight.row(0)[j + i] * (d[i] - per * (work.row(1)[j + i] + xhat * work.row(0)[j + i]));
      }
      if (skip.ptr[0]) {
        load_numbers<V>(skip.row(r) + j, b);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) d[i] += b[i];
      }
      store_numbers<V>(dx.row(r) + j, d);
    }
}

}  // namespace backend::kernel
}  // namespace polymoe
