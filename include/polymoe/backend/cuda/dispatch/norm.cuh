// Layer normalisation on CUDA: one launch forward, three backward.
#pragma once

#include "../kernel/norm.cuh"
#include "pointwise.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// Measures the scratch of layer_norm_backward: two partial gradients per block of rows.
template <class T>
void layer_norm_bind(binder<cuda_device>& b, index max_rows, index dim) {
  arena_scope all(b.scratch);
  b.scratch.template take<master_t<T>>(2 * kernel::norm_blocks(max_rows), dim);
}

/// y = (x - mean) / sqrt(var + eps) * weight + bias per row; stats [rows, 2] receive mean and 1 / sqrt(var + eps).
template <class T>
void layer_norm_forward(const context<cuda_device>& c, view<const T> x, view<const master_t<T>> weight,
                        view<const master_t<T>> bias, double eps, view<T> y, view<compute_t<T>> stats) {
  using C = compute_t<T>;
  const auto shape = detail::warp_rows("layer_norm", c.stream, x.rows);
  const C per = C(1) / static_cast<C>(x.cols);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(shape, kernel::layer_norm_kernel<T, V::value>, x, weight, bias, static_cast<C>(eps), per, y,
                       stats);
      },
      x, weight, bias, y);
}

/// dweight += sum dy xhat, dbias += sum dy, and dx = scale (g - mean(g) - xhat mean(g xhat)) + skip, g = dy weight.
/// dx may be empty; skip may be empty.  The sums have one order for every grid.
template <class T>
void layer_norm_backward(context<cuda_device>& c, view<const T> dy, view<const T> x, view<const compute_t<T>> stats,
                         view<const master_t<T>> weight, view<master_t<T>> dweight, view<master_t<T>> dbias, view<T> dx,
                         view<const T> skip) {
  using C = compute_t<T>;
  using M = master_t<T>;
  if (dy.rows == 0) return;
  arena_scope all(c.scratch);
  const index blocks = ceil_div(dy.rows, kernel::norm_block_rows(dy.rows));
  const view<M> parts = c.scratch.template take<M>(2 * blocks, dy.cols);
  // The parameters come first: dx may lie where dy lies.
  detail::with_access<T>(
      [&]<class V>(V) {
        constexpr int span = 32 * V::value;
        const device::dim grid(static_cast<int>(blocks), static_cast<int>(ceil_div(dy.cols, span)));
        device::launch({.kernel = "layer_norm sums",
                        .grid = grid,
                        .block = 32 * kernel::move_warps,
                        .shared = 2 * kernel::move_warps * span * sizeof(C),
                        .stream = c.stream.handle},
                       kernel::layer_norm_sums_kernel<T, V::value>, dy, x, stats, parts);
      },
      dy, x);
  device::launch({.kernel = "layer_norm join",
                  .grid = {static_cast<int>(ceil_div(dy.cols, 32)), 2},
                  .block = 32 * kernel::norm_join_warps,
                  .shared = 32 * kernel::norm_join_warps * sizeof(M),
                  .stream = c.stream.handle},
                 kernel::layer_norm_join_kernel<M>, parts, dweight, dbias);
  if (!dx.ptr[0]) return;
  const C per = C(1) / static_cast<C>(x.cols);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("layer_norm backward", c.stream, x.rows),
                       kernel::layer_norm_input_kernel<T, V::value>, dy, x, stats, weight, per, skip, dx);
      },
      dy, x, weight, dx, skip);
}

}  // namespace backend
}  // namespace polymoe
