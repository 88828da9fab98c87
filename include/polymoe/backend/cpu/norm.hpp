// Layer normalisation on the CPU: one pass over memory forward, one backward; statistics in the compute type.
#pragma once

#include "simd.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// Rows whose weight and bias gradients are summed before they join the others, in order.
inline constexpr index norm_tile_rows = 256;

/// Measures the scratch of layer_norm_backward: two partial gradients per tile of rows.
template <class T, class Maths>
void layer_norm_bind(binder<cpu_with<Maths>>& b, index max_rows, index dim) {
  arena_scope all(b.scratch);
  b.scratch.template take<master_t<T>>(2 * ceil_div(max_rows, norm_tile_rows), dim);
}

/// y = (x - mean) / sqrt(var + eps) * weight + bias per row; stats [rows, 2] receive mean and 1 / sqrt(var + eps).
template <class T, class Maths>
POLYMOE_NOINLINE void layer_norm_forward(context<cpu_with<Maths>>& c, view<const T> x, view<const master_t<T>> weight,
                                         view<const master_t<T>> bias, double eps, view<T> y,
                                         view<compute_t<T>> stats) {
  using S = compute_t<T>;
  using R = real_t<S>;
  const index dim = x.cols;
  const S per = S(R(1) / static_cast<R>(dim)), e = S(static_cast<R>(eps));
  parallel_rows(c.stream, x.rows, norm_tile_rows, [&](index r0, index n, worker&) {
    const view<const T> in = x;  // copies: the compiler then knows that stores leave the pointers alone
    const view<T> out = y;
    const view<const master_t<T>> g = weight, b = bias;
    for (index r = r0; r < r0 + n; ++r) {
      const S mean = per * simd::sum<S>(dim, [=](index k) { return in.get(r, k); });
      const S var = per * simd::sum<S>(dim, [=](index k) {
                      const S d = in.get(r, k) - mean;
                      return d * d;
                    });
      const S scale = S(1) / math::sqrt(var + e);
      stats.set(r, 0, mean);
      stats.set(r, 1, scale);
      simd::each(dim, [=](index k) { out.set(r, k, (in.get(r, k) - mean) * scale * g.get(0, k) + b.get(0, k)); });
    }
  });
}

/// dweight += sum dy xhat, dbias += sum dy, and dx = scale (g - mean(g) - xhat mean(g xhat)) + skip, g = dy weight.
/// dx may be empty; skip may be empty.
template <class T, class Maths>
POLYMOE_NOINLINE void layer_norm_backward(context<cpu_with<Maths>>& c, view<const T> dy, view<const T> x,
                                          view<const compute_t<T>> stats, view<const master_t<T>> weight,
                                          view<master_t<T>> dweight, view<master_t<T>> dbias, view<T> dx,
                                          view<const T> skip) {
  using S = compute_t<T>;
  using R = real_t<S>;
  using M = master_t<T>;
  const index dim = x.cols, tiles = ceil_div(dy.rows, norm_tile_rows);
  const S per = S(R(1) / static_cast<R>(dim));
  arena_scope all(c.scratch);
  const view<M> parts = c.scratch.template take<M>(2 * tiles, dim);
  parallel_rows(c.stream, dy.rows, norm_tile_rows, [&](index r0, index n, worker&) {
    const view<const T> in = x, up = dy, add = skip;
    const view<T> out = dx;
    const view<const M> w = weight;
    const view<M> pw = parts.rows_at(2 * (r0 / norm_tile_rows), 1),
                  pb = parts.rows_at(2 * (r0 / norm_tile_rows) + 1, 1);
    for (int i = 0; i < view<M>::planes; ++i) {
      std::fill_n(pw.ptr[i], dim, R(0));
      std::fill_n(pb.ptr[i], dim, R(0));
    }
    for (index r = r0; r < r0 + n; ++r) {
      const S mean = stats.get(r, 0), scale = stats.get(r, 1);
      simd::each(dim, [=](index k) {
        const S g = up.get(r, k);
        pw.set(0, k, pw.get(0, k) + g * ((in.get(r, k) - mean) * scale));
        pb.set(0, k, pb.get(0, k) + g);
      });
      if (!out.ptr[0]) continue;
      const S a = per * simd::sum<S>(dim, [=](index k) { return up.get(r, k) * w.get(0, k); });
      const S b =
          per * scale * simd::sum<S>(dim, [=](index k) { return up.get(r, k) * w.get(0, k) * (in.get(r, k) - mean); });
      if (add.ptr[0])
        simd::each(dim, [=](index k) {
          const S xhat = (in.get(r, k) - mean) * scale;
          out.set(r, k, add.get(r, k) + scale * (up.get(r, k) * w.get(0, k) - a - xhat * b));
        });
      else
        simd::each(dim, [=](index k) {
          const S xhat = (in.get(r, k) - mean) * scale;
          out.set(r, k, scale * (up.get(r, k) * w.get(0, k) - a - xhat * b));
        });
    }
  });
  for (index t = 0; t < tiles; ++t)
    for (int i = 0; i < view<M>::planes; ++i) {
      const R *pw = parts.row(2 * t, i), *pb = parts.row(2 * t + 1, i);
      R *gw = dweight.row(0, i), *gb = dbias.row(0, i);
      simd::each(dim, [=](index k) {
        gw[k] += pw[k];
        gb[k] += pb[k];
      });
    }
}

}  // namespace backend
}  // namespace polymoe
