// Optimiser steps over flat buffers: the gradient norm, and the update of parameters, moments and averaged weights.
//
// The tensors of a model are cut into pieces of at most 16384 elements, as on the CPU.  The squares of a piece are
// summed in double in 16 lanes and the lanes in order; the pieces are added in order by one thread.  The update of an
// element is a chain of explicit fused multiply-adds, so that float results have the same bits on every machine with
// that instruction.
#pragma once

#include "../../../train/optimizer.hpp"
#include "pointwise.cuh"

namespace polymoe::inline v0 {

namespace backend::kernel {

/// A part of one tensor: `count` elements from `first` on in the flat buffers.
struct parameter_piece {
  index first;
  std::int32_t count;
  std::int32_t decays;  ///< 1: weight decay applies
};

inline constexpr int norm_lanes = 16;
inline constexpr int norm_warps = 4;
/// sums[i] = sum of squares of piece i: lane l of half a warp adds elements l, l + 16, ...; then the lanes in order.
template <class R>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * norm_warps)
    gradient_squares_kernel(const parameter_piece* pieces, int count, const R* grads, double* sums) {
  const int lane = device::lane() % norm_lanes, half = device::thread_rank() / norm_lanes;
  constexpr int halves = 32 * norm_warps / norm_lanes;
  const index step = device::grid_size().volume() * halves;
  // Both halves of a warp go round equally often: the exchange below needs all 32 lanes.
  for (index i = device::block_rank() * halves + half; i - half % 2 < count; i += step) {
    double sum = 0;
    if (i < count) {
      const parameter_piece piece = pieces[i];
      const R* g = grads + piece.first;
      const int whole = piece.count / norm_lanes * norm_lanes;
      POLYMOE_UNROLL_BY(8)
      for (int k = lane; k < whole; k += norm_lanes) {
        const double x = static_cast<double>(g[k]);
        sum += x * x;
      }
      if (lane == 0)
        for (int k = whole; k < piece.count; ++k) {
          const double x = static_cast<double>(g[k]);
          sum += x * x;
        }
    }
    double total = 0;
    POLYMOE_UNROLL
    for (int l = 0; l < norm_lanes; ++l) total += device::shuffle_idx(sum, l, norm_lanes);
    if (lane == 0 && i < count) sums[i] = total;
  }
}

inline constexpr int norm_finish_threads = 256;
inline constexpr int norm_stretch = 2048;
/// *report from the sums of the pieces, added in order, read `Stretch` at a time.  With `halts` a step that was skipped
/// makes the following ones skipped too, until the host clears the word.  One block; shared memory: Stretch doubles.
template <int Stretch>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(norm_finish_threads)
    gradient_norm_kernel(const double* sums, int count, double limit, bool halts, optimizer_report* report) {
  double* part = device::shared<double>();
  double total = 0;
  for (int first = 0; first < count; first += Stretch) {
    const int n = count - first < Stretch ? count - first : Stretch;
    device::sync_block();
    for (int k = device::thread_rank(); k < n; k += norm_finish_threads) part[k] = sums[first + k];
    device::sync_block();
    if (device::thread_rank() == 0)
      for (int k = 0; k < n; ++k) total += part[k];
  }
  if (device::thread_rank() > 0) return;
  const double norm = math::sqrt(total);
  const bool finite = math::is_finite(norm);
  report->norm = norm;
  report->scale = finite && limit > 0 && norm > limit ? limit / norm : 1.0;
  report->skipped = finite && !(halts && report->skipped) ? 0 : 1;
  if (!finite) ++report->skips;
}

/// The flat buffers of a step.  `average` may be null.
template <class R, int Moments>
struct step_buffers {
  R* params = nullptr;
  const R* grads = nullptr;
  R* moment[Moments] = {};
  R* average = nullptr;
};

inline constexpr int step_threads = 256;
/// One step of `rule` on every piece, with the gradients times report->scale; then the averaged weights, where there
/// are any.  Does nothing when report->skipped.  Bases are aligned to 16 bytes when V > 1; pieces that begin off such a
/// border go element by element.
template <class Rule, class R, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(step_threads)
    optimizer_step_kernel(const parameter_piece* pieces, int count, Rule rule, const step_state* step,
                          const optimizer_report* report, double average_decay, step_buffers<R, Rule::moments> b) {
  constexpr int M = Rule::moments;
  if (report->skipped) return;
  // The constants take two powers in double: one thread computes them for the block.
  auto* at = device::shared<v0::detail::rule_at<Rule, R>>();
  const step_state now = step ? *step : step_state{};
  if (device::thread_rank() == 0) *at = v0::detail::rule_at<Rule, R>(rule, now);
  device::sync_block();
  const v0::detail::rule_at<Rule, R> update = *at;
  const R scale = static_cast<R>(report->scale);
  const v0::detail::average_at<R> averaged(average_decay, now);

  const auto element = [&](index k, bool decays) {
    R p = b.params[k], m[M];
    POLYMOE_UNROLL
    for (int q = 0; q < M; ++q) m[q] = b.moment[q][k];
    update(p, b.grads[k] * scale, m, decays);
    b.params[k] = p;
    POLYMOE_UNROLL
    for (int q = 0; q < M; ++q) b.moment[q][k] = m[q];
    if (b.average) b.average[k] = averaged(b.average[k], p);
  };
  const auto wide = [&](index k, bool decays) {
    R p[V], g[V], m[M][V];
    load_wide<V>(b.params + k, p);
    load_wide<V>(b.grads + k, g);
    POLYMOE_UNROLL
    for (int q = 0; q < M; ++q) load_wide<V>(b.moment[q] + k, m[q]);
    POLYMOE_UNROLL
    for (int v = 0; v < V; ++v) {
      R own[M];
      POLYMOE_UNROLL
      for (int q = 0; q < M; ++q) own[q] = m[q][v];
      update(p[v], g[v] * scale, own, decays);
      POLYMOE_UNROLL
      for (int q = 0; q < M; ++q) m[q][v] = own[q];
    }
    store_wide<V>(b.params + k, p);
    POLYMOE_UNROLL
    for (int q = 0; q < M; ++q) store_wide<V>(b.moment[q] + k, m[q]);
    if (b.average) {
      R a[V];
      load_wide<V>(b.average + k, a);
      POLYMOE_UNROLL
      for (int v = 0; v < V; ++v) a[v] = averaged(a[v], p[v]);
      store_wide<V>(b.average + k, a);
    }
  };
  for (index i = device::block_rank(); i < count; i += device::grid_size().volume()) {
    const parameter_piece piece = pieces[i];
    const bool decays = piece.decays != 0;
    const int packed = piece.first % V == 0 ? piece.count / V * V : 0;
    for (int k = device::thread_rank() * V; k < packed; k += step_threads * V) wide(piece.first + k, decays);
    for (int k = packed + device::thread_rank(); k < piece.count; k += step_threads) element(piece.first + k, decays);
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
