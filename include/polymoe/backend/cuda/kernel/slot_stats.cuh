// Statistics of a call of Soft MoE, made on the device from the sums that the softmax kernel left block by block: load
// and entropy of a step are then read with its record, as those of other routers.
#pragma once

#include "../../../layer/stats.hpp"
#include "../../../plan/dense_plan.hpp"
#include "../warp_group.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace kernel {

inline constexpr int slot_stats_warps = 8;  ///< of a block

/// What the statistics of a call are made of.
template <class C>
struct slot_stats_args {
  slot_layout plan;
  const C* mass = nullptr;    ///< [blocks, S] as slot_softmax_kernel left it
  const C* totals = nullptr;  ///< [blocks, 2] likewise
  index blocks = 0;
  routing_stats arrays;         ///< of the result
  routing_stats* to = nullptr;  ///< [1]
  C* balance = nullptr;         ///< [1] there is no balance loss: zero
};
/// Statistics of a call from the sums of its blocks, in an order that depends on sizes only.  Grid: a block per expert,
/// and one for the rest.  Shared memory: a double per warp.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * slot_stats_warps)
    slot_stats_kernel(const POLYMOE_GRID_CONSTANT slot_stats_args<C> a) {
  constexpr int threads = 32 * slot_stats_warps;
  double* const shared = device::shared<double>();
  const auto total = [&](index n, auto number) {
    double sum = 0;
    for (index i = device::thread_rank(); i < n; i += threads) sum += static_cast<double>(number(i));
    sum = warp_group{}.sum(sum);
    device::sync_block();
    if (device::lane() == 0) shared[device::warp()] = sum;
    device::sync_block();
    sum = 0;
    for (int w = 0; w < slot_stats_warps; ++w) sum += shared[w];
    return sum;
  };
  const int e = static_cast<int>(device::block_rank()), experts = a.plan.experts, own = a.plan.capacity;
  if (e < experts) {
    const index slots = a.plan.group_slots();
    const double mass =
        total(a.blocks * own, [&](index i) { return a.mass[i / own * slots + index{e} * own + i % own]; });
    if (device::thread_rank() == 0) a.arrays.gate_mass[e] = mass;
    return;
  }
  const auto bad = static_cast<index>(total(a.plan.tokens, [&](index t) { return a.plan.bad[t] ? 1 : 0; }));
  const double entropy = total(a.blocks, [&](index i) { return a.totals[2 * i]; });
  const double margin = total(a.blocks, [&](index i) { return a.totals[2 * i + 1]; });
  const index finite = a.plan.tokens - bad;
  for (int i = device::thread_rank(); i < experts; i += threads) a.arrays.wished[i] = a.arrays.served[i] = finite;
  if (device::thread_rank() > 0) return;
  routing_stats r = a.arrays;
  r.experts = experts, r.units = a.plan.tokens, r.bad_rows = bad, r.mixture = true;
  r.choices = r.placed = finite * experts;
  if (finite > 0) r.entropy = entropy / static_cast<double>(finite), r.margin = margin / static_cast<double>(finite);
  *a.to = r;
  *a.balance = C(0);
}

}  // namespace kernel
}  // namespace backend
}  // namespace polymoe
