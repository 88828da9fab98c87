// Batch normalisation on the CPU (Ioffe & Szegedy 2015, algorithm 1): sums of columns over tiles of rows, added in
// order; channels in vector lanes.
#pragma once

#include "norm.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// Sizes of the scratch of the functions below.
template <class T, class Maths>
void batch_norm_bind(binder<cpu_with<Maths>>& b, index max_rows, index channels) {
  arena_scope all(b.scratch);
  b.scratch.template take<compute_t<T>>(2 * ceil_div(max_rows, norm_tile_rows), channels);
}

namespace detail {
/// total [2, channels] = the sums over rows of a(r, k) and b(r, k), in tiles of rows and in order.
template <class T, class Maths, class F>
void column_pairs(context<cpu_with<Maths>>& c, index rows, index channels, F f, view<compute_t<T>> total) {
  using S = compute_t<T>;
  const index tiles = ceil_div(rows, norm_tile_rows);
  arena_scope all(c.scratch);
  const view<S> parts = c.scratch.template take<S>(2 * tiles, channels);
  parallel_rows(c.stream, rows, norm_tile_rows, [&](index r0, index n, worker&) {
    const index tile = r0 / norm_tile_rows;
    const view<S> sums = parts;
    simd::each(channels, [=](index k) { sums.set(2 * tile, k, S(0)), sums.set(2 * tile + 1, k, S(0)); });
    for (index r = r0; r < r0 + n; ++r)
      simd::each(channels, [=](index k) {
        const auto [first, second] = f(r, k);
        sums.set(2 * tile, k, sums.get(2 * tile, k) + first);
        sums.set(2 * tile + 1, k, sums.get(2 * tile + 1, k) + second);
      });
  });
  simd::each(channels, [=](index k) { total.set(0, k, S(0)), total.set(1, k, S(0)); });
  for (index t = 0; t < tiles; ++t)
    simd::each(channels, [=](index k) {
      total.set(0, k, total.get(0, k) + parts.get(2 * t, k));
      total.set(1, k, total.get(1, k) + parts.get(2 * t + 1, k));
    });
}
template <class S>
struct two {
  S first, second;
};
}  // namespace detail

/// stats [2, channels] = mean and 1 / sqrt(var + eps) of each column, work [2, channels] = var (of the population) and
/// scratch.  The variance is the corrected sum of two passes: (sum d^2 - (sum d)^2 / n) / n with d = x - mean.
template <class T, class Maths>
POLYMOE_NOINLINE void batch_norm_statistics(context<cpu_with<Maths>>& c, view<const T> x, double eps,
                                            view<compute_t<T>> stats, view<compute_t<T>> work) {
  using S = compute_t<T>;
  using R = real_t<S>;
  const S per = S(R(1) / static_cast<R>(x.rows > 0 ? x.rows : 1)), e = S(static_cast<R>(eps));
  const view<S> found = stats;
  detail::column_pairs<T>(
      c, x.rows, x.cols,
      [=](index r, index k) {
        return detail::two<S>{x.get(r, k), S(0)};
      },
      work);
  simd::each(x.cols, [=](index k) { found.set(0, k, per * work.get(0, k)); });
  detail::column_pairs<T>(
      c, x.rows, x.cols,
      [=](index r, index k) {
        const S d = x.get(r, k) - found.get(0, k);
        return detail::two<S>{d * d, d};
      },
      work);
  for (index k = 0; k < x.cols; ++k) {
    const S d = work.get(1, k), var = per * (work.get(0, k) - per * d * d);
    work.set(0, k, var);
    found.set(1, k, S(1) / math::sqrt(var + e));
  }
}

/// Adds what a call of `rows` rows found to `found` [2 channels + 1]: the mean, the variance as PyTorch (divided by
/// rows - 1), and one.
template <class T, class Maths>
void batch_norm_note(context<cpu_with<Maths>>&, index rows, view<const compute_t<T>> stats,
                     view<const compute_t<T>> work, float* found) {
  if (rows == 0) return;
  const index n = stats.cols;
  const double unbiased = rows > 1 ? static_cast<double>(rows) / static_cast<double>(rows - 1) : 1.0;
  for (index k = 0; k < n; ++k) {
    found[k] += static_cast<float>(value_of(stats.get(0, k)));
    found[n + k] += static_cast<float>(unbiased * static_cast<double>(value_of(work.get(0, k))));
  }
  found[2 * n] += 1;
}
/// stats [2, channels] = the running mean and 1 / sqrt(running variance + eps).
template <class T, class Maths>
void batch_norm_recall(context<cpu_with<Maths>>&, const float* mean, const float* var, double eps,
                       view<compute_t<T>> stats) {
  using S = compute_t<T>;
  using R = real_t<S>;
  for (index k = 0; k < stats.cols; ++k) {
    stats.set(0, k, S(static_cast<R>(mean[k])));
    stats.set(1, k, S(static_cast<R>(1.0 / std::sqrt(static_cast<double>(var[k]) + eps))));
  }
}
/// running = (1 - momentum) running + momentum (found / number of calls); `found` starts anew.  What a step found that
/// was refused (context::halted) is forgotten.
template <class Maths>
void batch_norm_commit(context<cpu_with<Maths>>& c, double momentum, index channels, float* mean, float* var,
                       float* found) {
  const float calls = found[2 * channels];
  if (!(c.halted && *c.halted) && calls > 0) {
    const double per = 1.0 / static_cast<double>(calls);
    for (index k = 0; k < channels; ++k) {
      mean[k] = static_cast<float>((1 - momentum) * static_cast<double>(mean[k]) +
                                   momentum * per * static_cast<double>(found[k]));
      var[k] = static_cast<float>((1 - momentum) * static_cast<double>(var[k]) +
                                  momentum * per * static_cast<double>(found[channels + k]));
    }
  }
  std::fill_n(found, 2 * channels + 1, 0.0f);
}

/// y = (x - mean) scale weight + bias.
template <class T, class Maths>
POLYMOE_NOINLINE void batch_norm_forward(context<cpu_with<Maths>>& c, view<const T> x, view<const compute_t<T>> stats,
                                         view<const master_t<T>> weight, view<const master_t<T>> bias, view<T> y) {
  parallel_rows(c.stream, x.rows, simd::rows_per_tile(x.cols), [&](index r0, index n, worker&) {
    const view<const T> in = x;
    const view<T> out = y;
    const view<const compute_t<T>> s = stats;
    const view<const master_t<T>> w = weight, b = bias;
    for (index r = r0; r < r0 + n; ++r)
      simd::each(in.cols, [=](index k) {
        out.set(r, k, (in.get(r, k) - s.get(0, k)) * s.get(1, k) * w.get(0, k) + b.get(0, k));
      });
  });
}

/// dweight += sum dy xhat, dbias += sum dy; unless dx is empty dx = scale weight (dy - mean dy - xhat mean(dy xhat)) +
/// skip, the means left out when the statistics were not those of the batch.  work [2, channels] is scratch.
template <class T, class Maths>
POLYMOE_NOINLINE void batch_norm_backward(context<cpu_with<Maths>>& c, view<const T> dy, view<const T> x,
                                          view<const compute_t<T>> stats, bool of_batch, view<const master_t<T>> weight,
                                          view<master_t<T>> dweight, view<master_t<T>> dbias, view<compute_t<T>> work,
                                          view<T> dx, view<const T> skip) {
  using S = compute_t<T>;
  using R = real_t<S>;
  if (dy.rows == 0) return;
  const auto xhat = [=](index r, index k) { return (x.get(r, k) - stats.get(0, k)) * stats.get(1, k); };
  detail::column_pairs<T>(
      c, dy.rows, dy.cols,
      [=](index r, index k) {
        const S d = dy.get(r, k);
        return detail::two<S>{d * xhat(r, k), d};
      },
      work);
  simd::each(dy.cols, [=](index k) {
    dweight.set(0, k, dweight.get(0, k) + work.get(0, k));
    dbias.set(0, k, dbias.get(0, k) + work.get(1, k));
  });
  if (!dx.ptr[0]) return;
  const S per = of_batch ? S(R(1) / static_cast<R>(dy.rows)) : S(0);
  parallel_rows(c.stream, dy.rows, simd::rows_per_tile(dy.cols), [&](index r0, index n, worker&) {
    const view<T> out = dx;
    const view<const T> up = dy, add = skip;
    const view<const S> sums = work, s = stats;
    const view<const master_t<T>> w = weight;
    const auto gradient = [=](index r, index k) {
      return s.get(1, k) * w.get(0, k) * (up.get(r, k) - per * (sums.get(1, k) + xhat(r, k) * sums.get(0, k)));
    };
    for (index r = r0; r < r0 + n; ++r)
      if (add.ptr[0])
        simd::each(out.cols, [=](index k) { out.set(r, k, add.get(r, k) + gradient(r, k)); });
      else
        simd::each(out.cols, [=](index k) { out.set(r, k, gradient(r, k)); });
  });
}

}  // namespace backend
}  // namespace polymoe
