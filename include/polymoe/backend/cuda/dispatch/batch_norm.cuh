// Batch normalisation on CUDA: the CPU's functions (cpu/batch_norm.hpp) with the same arguments.  Running statistics
// are state in device memory, which nothing brings to the host.
#pragma once

#include "../kernel/batch_norm.cuh"
#include "column_sums.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace detail {

/// Threads over channels.
inline device::launch_shape channel_threads(const char* name, const cuda_device::stream& s, index channels) {
  return {.kernel = name,
          .grid = static_cast<int>(std::min(ceil_div(channels, 128), index{s.blocks} * 8)),
          .block = 128,
          .shared = 0,
          .stream = s.handle};
}
/// Both sums over the rows, and what is made of them.
template <kernel::column_pair Pair, class T>
void column_pairs(context<cuda_device>& c, view<const T> x, view<const T> dy, compute_t<T> per, compute_t<T> eps,
                  view<compute_t<T>> stats, view<compute_t<T>> work, view<compute_t<T>> dweight,
                  view<compute_t<T>> dbias) {
  using C = compute_t<T>;
  arena_scope all(c.scratch);
  const row_pieces p = row_pieces_of(x.rows);
  const view<C> partial = c.scratch.template take<C>(2 * p.count, x.cols);
  with_access<T>(
      [&]<class V>(V) {
        device::launch({.kernel = "pairs of column sums",
                        .grid = {static_cast<int>(ceil_div(x.cols, 32 * V::value)), static_cast<int>(p.count)},
                        .block = 32 * kernel::row_sum_warps,
                        .shared = 2 * kernel::row_sum_bytes<T, V::value>(),
                        .stream = c.stream.handle},
                       kernel::column_pairs_kernel<Pair, T, V::value>, x, dy, stats, p.each, partial);
      },
      x, dy);
  device::launch(channel_threads("join pairs of column sums", c.stream, x.cols),
                 kernel::column_pairs_join_kernel<Pair, C>, partial, p.count, per, eps, stats, work, dweight, dbias);
}

}  // namespace detail

/// Sizes of the scratch of the functions below.
template <class T>
void batch_norm_bind(binder<cuda_device>& b, index max_rows, index channels) {
  arena_scope all(b.scratch);
  b.scratch.template take<compute_t<T>>(2 * detail::most_row_pieces(max_rows), channels);
}

/// stats [2, channels] = mean and 1 / sqrt(var + eps) of each column, work [2, channels] = var (of the population) and
/// scratch.
template <class T>
void batch_norm_statistics(context<cuda_device>& c, view<const T> x, double eps, view<compute_t<T>> stats,
                           view<compute_t<T>> work) {
  using C = compute_t<T>;
  const C per = C(1) / static_cast<C>(x.rows > 0 ? x.rows : 1), e = static_cast<C>(eps);
  detail::column_pairs<kernel::column_pair::values, T>(c, x, {}, per, e, stats, work, {}, {});
  detail::column_pairs<kernel::column_pair::deviations, T>(c, x, {}, per, e, stats, work, {}, {});
}
/// Adds what a call of `rows` rows found to `found`.
template <class T>
void batch_norm_note(context<cuda_device>& c, index rows, view<const compute_t<T>> stats,
                     view<const compute_t<T>> work, float* found) {
  if (rows == 0) return;
  const double unbiased = rows > 1 ? static_cast<double>(rows) / static_cast<double>(rows - 1) : 1.0;
  device::launch(detail::channel_threads("note statistics", c.stream, stats.cols),
                 kernel::batch_norm_note_kernel<compute_t<T>>, unbiased, stats, work, found);
}
/// stats [2, channels] = the running mean and 1 / sqrt(running variance + eps).
template <class T>
void batch_norm_recall(context<cuda_device>& c, const float* mean, const float* var, double eps,
                       view<compute_t<T>> stats) {
  device::launch(detail::channel_threads("running statistics", c.stream, stats.cols),
                 kernel::batch_norm_recall_kernel<compute_t<T>>, mean, var, eps, stats);
}
/// The running statistics take in what was found, unless the step was refused; `found` starts anew.
inline void batch_norm_commit(context<cuda_device>& c, double momentum, index channels, float* mean, float* var,
                              float* found) {
  device::launch(
      {.kernel = "commit statistics", .grid = 1, .block = 256, .shared = 0, .stream = c.stream.handle},
      kernel::batch_norm_commit_kernel<256>, c.halted, momentum, channels, mean, var, found);
}

/// y = (x - mean) scale weight + bias.
template <class T>
void batch_norm_forward(context<cuda_device>& c, view<const T> x, view<const compute_t<T>> stats,
                        view<const master_t<T>> weight, view<const master_t<T>> bias, view<T> y) {
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("batch_norm", c.stream, x.rows), kernel::batch_norm_kernel<T, V::value>, x,
                       stats, weight, bias, y);
      },
      x, stats, weight, bias, y);
}
/// dweight += sum dy xhat, dbias += sum dy; dx (which may be empty) = the gradient of the input + skip; means are left
/// out when the statistics were not those of the batch.  work [2, channels] is scratch.
template <class T>
void batch_norm_backward(context<cuda_device>& c, view<const T> dy, view<const T> x, view<const compute_t<T>> stats,
                         bool of_batch, view<const master_t<T>> weight, view<master_t<T>> dweight,
                         view<master_t<T>> dbias, view<compute_t<T>> work, view<T> dx, view<const T> skip) {
  using C = compute_t<T>;
  if (dy.rows == 0) return;
  // The statistics are read only.
  const view<C> found(const_cast<C*>(stats.ptr[0]), stats.rows, stats.cols, stats.stride);
  detail::column_pairs<kernel::column_pair::gradients, T>(c, x, dy, C(0), C(0), found, work, dweight, dbias);
  if (!dx.ptr[0]) return;
  const C per = of_batch ? C(1) / static_cast<C>(dy.rows) : C(0);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("batch_norm backward", c.stream, dx.rows),
                       kernel::batch_norm_input_kernel<T, V::value>, dy, x, stats, work, per, weight, skip, dx);
      },
      dy, x, skip, dx);
}

}  // namespace backend
}  // namespace polymoe
