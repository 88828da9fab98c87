// Logits that are scaled cosines, on CUDA (router/with_cosine.hpp).  Around the router's own steps:
//
//   before the rows       projection  h = W_p x + b, one tile of 64 units and 32 columns a block
//                         lengths     of h and of the experts' rows, a warp each; and the copy of x, where x is
//                                     compared but not as it lies in memory
//   in the rows           z = <h, w> s / (|h| |w|) as the product leaves the registers: `cosine_of` in logits_tile
//   behind the rows of    gradient    d_z becomes the gradient of the products; sums of d_z z of units, and of experts
//   backward                          over 64 units
//                         products    of h with the experts' rows, those of route_backward.cuh
//                         lengths     what flows through lengths and scale
//                         products    of x with the projection, and of the second projection of learned noise
//
// Sums have the order of units and tiles, whatever the grid.
#pragma once

#include "route_backward.cuh"

namespace polymoe::inline v0 {

/// What a product of h becomes on its way to the logits.
template <class C>
struct cosine_of {
  C scale;
  const C* unit_length;
  const C* expert_length;
  POLYMOE_DEVICE C operator()(C x, index unit, index expert) const {
    return x * cosine_factor(scale * unit_length[unit], expert_length[expert]);
  }
};

/// h [T, P] of routers with a projection.  Any grid.
template <bool Perturbed, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads, 1) route_projection_kernel(route_args<T> a) {
  using C = compute_t<T>;
  constexpr index rows = product_shape::rows, columns = product_shape::column_threads * product_shape::most_columns;
  const auto noise = input_noise_of<Perturbed>(a);
  const index units = a.plan.tokens, width = a.cosine.width, across = ceil_div(width, columns);
  for (index i = device::block_index().x; i < ceil_div(units, rows) * across; i += device::grid_size().x) {
    const index first = i / across * rows, at = i % across * columns;
    const index end = first + rows < units ? first + rows : units, n = width - at < columns ? width - at : columns;
    logits_tile<T>(device::shared<C>(), a.input, a.input_stride, a.dim, a.cosine.projection + at * a.dim, noise,
                   plus_bias<C>{a.cosine.projection_bias ? a.cosine.projection_bias + at : nullptr}, a.cosine.rows + at,
                   width, static_cast<int>(n), first, end);
  }
}

/// 1 / |h_t| of the units, then 1 / |w_e| of the experts.  A warp a row, any grid.
template <bool Perturbed, bool Projected, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads) route_lengths_kernel(route_args<T> a) {
  using C = compute_t<T>;
  [[maybe_unused]] const auto noise = input_noise_of<Perturbed>(a);
  const index units = a.plan.tokens, width = a.cosine.width;
  for (index row = index{device::block_index().x} * route_tuning::warps + device::warp(); row < units + a.plan.experts;
       row += index{device::grid_size().x} * route_tuning::warps) {
    C sum(0);
    for (index j = device::lane(); j < width; j += device::warp_size) {
      C x(0);
      if (row >= units) {
        x = a.weight[(row - units) * width + j];
      } else if constexpr (Projected) {
        x = a.cosine.rows[row * width + j];
      } else {
        x = noise.apply(static_cast<C>(a.input[row * a.input_stride + j]), row * width + j);
        if (a.cosine.rows) a.cosine.rows[row * width + j] = x;
      }
      sum += x * x;
    }
    sum = warp_group{}.sum(sum);
    if (device::lane() != 0) continue;
    if (row < units)
      a.cosine.unit_length[row] = inverse_length(sum);
    else
      a.cosine.expert_length[row - units] = inverse_length(sum);
  }
}

/// d_logits becomes the gradient of the products; unit_share and shares.  A block works on 64 units at a time.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads)
    route_cosine_gradient_kernel(route_backward_args<T> b) {
  using C = compute_t<T>;
  const route_args<T>& a = b.forward;
  const index units = a.plan.tokens, E = a.plan.experts, each = route_tuning::tile_units;
  const C scale = cosine_scale(*a.cosine.log_scale, a.cosine.largest_scale);
  for (index tile = device::block_index().x; tile < ceil_div(units, each); tile += device::grid_size().x) {
    const index first = tile * each, end = first + each < units ? first + each : units;
    for (index e = device::thread_rank(); e < E; e += route_tuning::threads) {
      C sum(0);
      for (index t = first; t < end; ++t)
        if (!a.plan.bad[t]) sum += b.d_logits[t * E + e] * a.logits[t * E + e];  // else logits need not be numbers
      b.cosine.shares[tile * E + e] = sum;
    }
    device::sync_block();
    for (index t = first + device::warp(); t < end; t += route_tuning::warps) {
      C sum(0);
      if (!a.plan.bad[t]) {
        const C of_unit = scale * a.cosine.unit_length[t];
        for (index e = device::lane(); e < E; e += device::warp_size) {
          C& d = b.d_logits[t * E + e];
          sum += d * a.logits[t * E + e];
          d *= cosine_factor(of_unit, a.cosine.expert_length[e]);
        }
      }
      sum = warp_group{}.sum(sum);
      if (device::lane() == 0) b.cosine.unit_share[t] = sum;
    }
  }
}

/// d_h -= (sum_e d_z z) / |h|^2 h; without a projection it goes on to d_input.  Then d_w_e -= (sum_t d_z z) / |w_e|^2
/// w_e, and in a block of its own, the last one, d_a += sum_te d_z z.  A warp a row, any grid of two blocks at least.
template <bool Perturbed, bool Projected, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads)
    route_lengths_gradient_kernel(route_backward_args<T> b) {
  using C = compute_t<T>;
  const route_args<T>& a = b.forward;
  const index units = a.plan.tokens, E = a.plan.experts, width = a.cosine.width;
  const index tiles = ceil_div(units, index{route_tuning::tile_units}), blocks = index{device::grid_size().x} - 1;
  if (device::block_index().x == blocks) {
    C sum(0);
    for (index i = device::thread_rank(); i < tiles * E; i += route_tuning::threads) sum += b.cosine.shares[i];
    sum = warp_group{}.sum(sum);
    C* const shared = device::shared<C>();
    if (device::lane() == 0) shared[device::warp()] = sum;
    device::sync_block();
    if (device::thread_rank() > 0) return;
    for (int w = 1; w < route_tuning::warps; ++w) sum += shared[w];
    if (cosine_scale_learns(*a.cosine.log_scale, a.cosine.largest_scale)) *b.cosine.log_scale_grad += sum;
    return;
  }
  [[maybe_unused]] const auto noise = input_noise_of<Perturbed>(a);
  const auto h = compared_rows_of(a);
  for (index row = index{device::block_index().x} * route_tuning::warps + device::warp(); row < units + E;
       row += blocks * route_tuning::warps) {
    if (row >= units) {
      const index e = row - units;
      C sum(0);
      for (index i = device::lane(); i < tiles; i += device::warp_size) sum += b.cosine.shares[i * E + e];
      const C length = a.cosine.expert_length[e], share = warp_group{}.sum(sum) * length * length;
      for (index j = device::lane(); j < width; j += device::warp_size)
        b.weight_grad[e * width + j] -= share * a.weight[e * width + j];
    } else if (Projected || b.d_input) {
      const bool bad = a.plan.bad[row];  // then its h may be anything, and its d_h is zero
      const C length = a.cosine.unit_length[row], share = b.cosine.unit_share[row] * length * length;
      for (index j = device::lane(); j < width; j += device::warp_size) {
        C& d_row = b.cosine.d_rows[row * width + j];
        const C d = bad ? d_row : d_row - share * h.data[row * h.stride + j];
        if constexpr (Projected) {
          d_row = d;
        } else {
          T& to = b.d_input[row * b.d_input_stride + j];
          const C x = noise.apply(d, row * width + j);
          store(to, b.accumulate ? x + static_cast<C>(to) : x);
        }
      }
    }
  }
}

}  // namespace polymoe
