// What routers do with columns on CUDA: experts that pick their units, and plans of whole groups.
//
// Both are the policies' own text (core/block.hpp, router/group_plan.hpp) over the threads of a warp, a block, or
// several blocks; which of them depends on sizes only, and the bits on nothing else.
//
//   pick   one team a column: a warp up to 1024 units, a block of 1024 threads above
//   plan   one block a group, or several that meet at a barrier of their own (a cooperative launch) where it is large
#pragma once

#include "../../../router/group_plan.hpp"
#include "../grid_lanes.cuh"
#include "route_finish.cuh"

namespace polymoe::inline v0 {

/// Shared memory of a block with column phases: words of its context, then counters for `teams` selections.
struct column_shared {
  static constexpr std::size_t bins = device::block_lanes::bytes;
  POLYMOE_HD static constexpr std::size_t bytes(int teams) {
    return bins + static_cast<std::size_t>(teams) * phase::select_bins * sizeof(int);
  }
  POLYMOE_DEVICE static device::block_lanes lanes() { return {device::shared<double>()}; }
  POLYMOE_DEVICE static int* counters() { return device::shared<int>(bins); }
};

/// Whom an expert may take: anybody; those above its bound, which is zero or its threshold; anybody, while those above
/// are counted, from which thresholds learn.
enum class pick_rule { by_rank, above, by_rank_and_count };

/// Every expert takes the `capacity` first keys of its column in every group, of those that the rule admits: positions
/// by rising index of the units, sizes of the runs, wishes.  The numbers of the CPU's pick().
template <pick_rule Rule, int Threads, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads, 1024 / Threads)
    route_pick_kernel(const POLYMOE_GRID_CONSTANT route_args<T> a,
                      const POLYMOE_GRID_CONSTANT route_scratch<compute_t<T>> w) {
  using C = compute_t<T>;
  const sparse_plan<C>& p = a.plan;
  const int G = p.groups;
  column_shared::lanes().deal(
      device::block_index().x, device::grid_size().x, index{p.experts} * G, p.group_size, column_shared::counters(),
      [&](const auto& team, int* bins, index run) {
        const int e = static_cast<int>(run / G), g = static_cast<int>(run % G);
        const int t0 = g * p.group_size, left = p.tokens - t0, n = left < p.group_size ? left : p.group_size;
        const column_key<C>* const key = w.columns + index{e} * p.tokens + t0;
        int* const position = w.picked + index{e} * p.tokens + t0;
        // A larger score has the smaller key; that of the bound is the first that is not above it.
        int above = n;
        if constexpr (Rule != pick_rule::by_rank) {
          const column_key<C> bound = descending_key(a.threshold ? static_cast<C>(a.threshold[e]) : C(0));
          above = phase::sum<int>(team, n, [&](index i) { return key[i] < bound ? 1 : 0; });
        }
        const int wished = Rule == pick_rule::above ? above : n;
        const int most = wished < p.capacity ? wished : p.capacity;
        const int taken = phase::select_first(
            team, n, most, bins, [&](int i) { return key[i]; }, [&](int i, int at) { position[i] = at; },
            [&](int i) { position[i] = -1; });
        if (team.rank() != 0) return;
        p.count[run] = taken;
        // Whole numbers: the order of these additions changes nothing.
        device::atomic_add(w.run_total + e, taken);
        device::atomic_add(a.wished + e, index{Rule == pick_rule::above ? wished : taken});
        if constexpr (Rule == pick_rule::by_rank_and_count) device::atomic_add(w.above + e, above);
      });
}

/// How the blocks of a plan's launch share the groups: `blocks` for each of `teams` groups at a time.
struct plan_teams {
  int blocks = 1, teams = 1;
  index kept_cols = 0;     ///< numbers that the plan of a group keeps
  bool in_shared = false;  ///< they lie in shared memory, where nobody needs them afterwards
};

template <class Router, class T>
struct route_plan_call {
  Router router;
  route_args<T> args;
  route_scratch<compute_t<T>> scratch;
  plan_teams teams;
};

/// The plans of all groups, or the way back through them.
template <bool Backward, class Router, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::plan_threads, 1)
    route_plan_kernel(const POLYMOE_GRID_CONSTANT route_plan_call<Router, T> call) {
  using C = compute_t<T>;
  const route_args<T>& a = call.args;
  const route_scratch<C>& w = call.scratch;
  const plan_teams& by = call.teams;
  const index E = a.plan.experts;
  const int team = device::block_index().x / by.blocks;
  device::grid_lanes b{column_shared::lanes()};
  b.block = device::block_index().x % by.blocks, b.blocks = by.blocks;
  b.words = w.plan_words + 2 * team, b.exchange = w.plan_exchange + team * by.blocks;
  const C* const logits = a.noisy ? a.noisy : a.logits;
  for (int g = team; g < a.plan.groups; g += by.teams) {
    const index first = index{g} * a.plan.group_size, left = a.plan.tokens - first,
                n = left < a.plan.group_size ? left : a.plan.group_size;
    const auto rows = [&](const C* all) { return view<C>(const_cast<C*>(all + first * E), n, E); };
    group_cells<C> c;
    c.logits = rows(logits);
    c.inverse_temperature = route_values_of(a).inverse_temperature;
    c.bad = a.plan.bad + first;
    c.scores = rows(a.scores);
    c.picked = Router::k == picked_by_experts;
    c.training = a.mode == run_mode::train;
    c.limit = Router::k >= 1 ? Router::k : c.picked ? a.plan.capacity : E;
    c.bins = column_shared::counters();
    c.plan = rows(a.affinity);
    if (Backward) c.d_plan = rows(a.d_affinity);
    constexpr std::size_t used = column_shared::bytes(route_tuning::plan_threads / device::warp_size);
    c.kept = view<C>(by.in_shared ? device::shared<C>(used) : a.kept + g * a.kept_cols, 1, by.kept_cols);
    c.steps = a.kept_steps + g;
    if constexpr (carries_prices<Router>) c.start = a.start, c.found = a.found + g * E;
    if constexpr (Backward) {
      call.router.plan_group_vjp(b, c);
    } else {
      call.router.plan_group(b, c);
      if constexpr (Router::k == picked_by_experts)
        phase::lines(b, E, n, c.bins, [&](const auto& threads, int*, index e) {
          for (index t = threads.rank(); t < n; t += threads.width())
            w.columns[e * a.plan.tokens + first + t] = c.bad[t] ? ~column_key<C>(0) : descending_key(c.plan.get(t, e));
        });
    }
  }
}

}  // namespace polymoe
