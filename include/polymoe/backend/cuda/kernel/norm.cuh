// Layer normalisation: a warp owns a row; gradients of weight and bias are sums over rows in a fixed order.
//
// The gradient of the parameters is summed in two steps: blocks of a fixed number of rows give partial sums, which one
// block per 32 columns then adds in the order of the blocks.  Sizes alone decide about the blocks, so the bits are the
// same in every run.
#pragma once

#include "pointwise.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// y = (x - mean) scale weight + bias; stats [rows, 2] receive mean and scale = 1 / sqrt(var + eps).
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    layer_norm_kernel(view<const T> x, view<const master_t<T>> weight, view<const master_t<T>> bias, compute_t<T> eps,
                      compute_t<T> per, view<T> y, view<compute_t<T>> stats) {
  using C = compute_t<T>;
  for (index r = warp_rank(); r < x.rows; r += warp_total()) {
    held_rows<T, V, 1> in{{x.row(r)}, x.cols, {}};
    in.load();
    C sum(0);
    in.each([&](index, const auto& p) {
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) sum += static_cast<C>(p[0].v[k]);
    });
    const C mean = per * warp_group{}.sum(sum);
    C squares(0);
    in.each([&](index, const auto& p) {
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) {
        const C d = static_cast<C>(p[0].v[k]) - mean;
        squares += d * d;
      }
    });
    const C scale = C(1) / math::sqrt(per * warp_group{}.sum(squares) + eps);
    if (device::lane() == 0) stats.set(r, 0, mean), stats.set(r, 1, scale);
    T* to = y.row(r);
    in.each([&](index j, const auto& p) {
      C w[V], b[V];
      load_wide<V>(weight.row(0) + j, w);
      load_wide<V>(bias.row(0) + j, b);
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) b[k] = (static_cast<C>(p[0].v[k]) - mean) * scale * w[k] + b[k];
      store_wide<V>(to + j, b);
    });
  }
}

/// dx = scale (g - mean(g) - xhat mean(g xhat)) + skip with g = dy weight; skip may be null, dx may be dy, x or skip.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    layer_norm_input_kernel(view<const T> dy, view<const T> x, view<const compute_t<T>> stats,
                            view<const master_t<T>> weight, compute_t<T> per, view<const T> skip, view<T> dx) {
  using C = compute_t<T>;
  for (index r = warp_rank(); r < x.rows; r += warp_total()) {
    held_rows<T, V, 2> in{{dy.row(r), x.row(r)}, x.cols, {}};
    in.load();
    const C mean = stats.get(r, 0), scale = stats.get(r, 1);
    C a(0), b(0);
    in.each([&](index j, const auto& p) {
      C w[V];
      load_wide<V>(weight.row(0) + j, w);
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) {
        const C g = static_cast<C>(p[0].v[k]) * w[k];
        a += g;
        b += g * (static_cast<C>(p[1].v[k]) - mean);
      }
    });
    a = per * warp_group{}.sum(a);
    b = per * scale * warp_group{}.sum(b);
    in.each([&](index j, const auto& p) {
      C w[V], s[V] = {};
      load_wide<V>(weight.row(0) + j, w);
      if (skip.ptr[0]) load_wide<V>(skip.row(r) + j, s);
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) {
        const C xhat = (static_cast<C>(p[1].v[k]) - mean) * scale;
        s[k] += scale * (static_cast<C>(p[0].v[k]) * w[k] - a - xhat * b);
      }
      store_wide<V>(dx.row(r) + j, s);
    });
  }
}

/// Rows of one block of layer_norm_sums_kernel: at least 64, and so many that there are at most 512 blocks.
POLYMOE_HD constexpr index norm_block_rows(index rows) { return rows > 64 * 512 ? ceil_div(rows, 512) : 64; }
/// Most blocks that any number of rows up to `max_rows` makes.
constexpr index norm_blocks(index max_rows) { return max_rows > 64 * 512 ? 512 : ceil_div(max_rows, 64); }

/// Rows 2b and 2b + 1 of `parts` = the sums of dy xhat and of dy over the rows of block b; grid: blocks x stretches of
/// 32 V columns.  Shared memory: 256 V numbers.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    layer_norm_sums_kernel(view<const T> dy, view<const T> x, view<const compute_t<T>> stats, view<master_t<T>> parts) {
  using C = compute_t<T>;
  constexpr int span = 32 * V;
  const index each = norm_block_rows(dy.rows), first = device::block_index().x * each,
              end = first + each < dy.rows ? first + each : dy.rows;
  const index c0 = index{device::block_index().y} * span, j = c0 + device::lane() * V;
  C weight[V] = {}, bias[V] = {};
  if (j < dy.cols)
    for (index r = first + device::warp(); r < end; r += move_warps) {
      C g[V], in[V];
      load_wide<V>(dy.row(r) + j, g);
      load_wide<V>(x.row(r) + j, in);
      const C mean = stats.get(r, 0), scale = stats.get(r, 1);
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) {
        weight[k] += g[k] * ((in[k] - mean) * scale);
        bias[k] += g[k];
      }
    }
  C* shared = device::shared<C>();  // [warp][weight or bias][column]
  POLYMOE_UNROLL
  for (int k = 0; k < V; ++k) {
    shared[(2 * device::warp()) * span + device::lane() * V + k] = weight[k];
    shared[(2 * device::warp() + 1) * span + device::lane() * V + k] = bias[k];
  }
  device::sync_block();
  for (int i = device::thread_rank(); i < 2 * span; i += 32 * move_warps) {
    C sum(0);
    for (int w = 0; w < move_warps; ++w) sum += shared[2 * w * span + i];
    const index which = i / span, column = c0 + i % span;
    if (column < dy.cols) parts.set(2 * index{device::block_index().x} + which, column, sum);
  }
}

inline constexpr int norm_join_warps = 8;
/// dweight (block row 0) and dbias (block row 1) += the sum of their parts; 32 columns a block.  Every warp adds each
/// eighth part in order, then the warps are added in order.
template <class M>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * norm_join_warps)
    layer_norm_join_kernel(view<const M> parts, view<M> dweight, view<M> dbias) {
  const index which = device::block_index().y, column = index{device::block_index().x} * 32 + device::lane();
  M sum(0);
  if (column < parts.cols)
    for (index b = device::warp(); 2 * b < parts.rows; b += norm_join_warps) sum += parts.get(2 * b + which, column);
  M* shared = device::shared<M>();
  shared[device::warp() * 32 + device::lane()] = sum;
  device::sync_block();
  if (device::warp() > 0 || column >= parts.cols) return;
  sum = shared[device::lane()];
  for (int w = 1; w < norm_join_warps; ++w) sum += shared[w * 32 + device::lane()];
  (which == 0 ? dweight : dbias).add(0, column, sum);
}

}  // namespace backend::kernel
}  // namespace polymoe
