// The router on CUDA: picks the row tier for the number of experts and launches the steps of forward and backward.
//
// Nothing here waits, allocates or reads a count: a call is one cooperative launch, or a launch per step, all of sizes
// known on the host, and can be captured in a graph.  The cooperative launch is cut in two around the sort of an
// ordered priority, and around what works on columns: the plan of a group, experts that pick.
#pragma once

#include "../kernel/columns.cuh"
#include "../kernel/route.cuh"
#include "route_logits.cuh"

namespace polymoe::inline v0 {

namespace detail {
template <int N>
struct route_tier {
  static constexpr int value = N;
};
/// f(tier) with the smallest row tier that holds E experts; tiers beyond the one for `Most` are not compiled.
template <int Most, class F>
auto with_route_tier(int experts, F f) {
  static_assert(Most >= 1 && Most <= max_experts, "polymoe: the router has kernels for 1 to 1024 experts");
  require(experts >= 1 && experts <= Most, "route: ", experts, " experts, these kernels were compiled for 1 to ", Most);
  if constexpr (Most > 32)
    if (experts <= 32) return f(route_tier<32>{});
  if constexpr (Most > 64)
    if (experts > 32 && experts <= 64) return f(route_tier<64>{});
  if constexpr (Most > 128)
    if (experts > 64 && experts <= 128) return f(route_tier<128>{});
  if constexpr (Most > 256)
    if (experts > 128 && experts <= 256) return f(route_tier<256>{});
  constexpr int last = Most <= 32 ? 32 : (Most <= 64 ? 64 : (Most <= 128 ? 128 : (Most <= 256 ? 256 : max_experts)));
  return f(route_tier<last>{});
}

template <class Router, class Capacity, class Balance, class C>
std::size_t route_sort_bytes(const sparse_plan<C>& p, const route_sort& sort) {
  using schedule = route_schedule<Router, Capacity>;
  if constexpr (!schedule::ordered) {
    return 0;
  } else {
    require(sort.bytes && sort.run,
            "route: this priority needs a sort; pass device::radix_sort() of dispatch/sort.cuh");
    const int items = p.tokens * (schedule::by_choice ? schedule::K : 1), groups = group_bits(p.groups);
    if constexpr (group_in_key<C>)
      return sort.bytes(items, 32 + groups);
    else
      return std::max(sort.bytes(items, 64), p.groups > 1 ? sort.bytes(items, groups) : std::size_t{0});
  }
}

/// Sorts the keys of units or choices; s.order becomes their ids.
template <class Router, class Capacity, class C>
void sort_route_items(device::stream_handle stream, const sparse_plan<C>& p, const route_sort& sort,
                      route_scratch<C>& s) {
  using schedule = route_schedule<Router, Capacity>;
  constexpr int per_unit = schedule::by_choice ? schedule::K : 1;
  const int items = p.tokens * per_unit, groups = group_bits(p.groups);
  s.order = s.ids[1];
  if (items == 0) return;
  sort.run(stream, s.sort, s.sort_bytes, s.keys[0], s.keys[1], s.ids[0], s.ids[1], items,
           group_in_key<C> ? 32 + groups : 64);
  if constexpr (!group_in_key<C>) {
    if (p.groups <= 1) return;
    const int blocks =
        static_cast<int>(std::min<index>(ceil_div(items, route_tuning::threads), route_tuning::most_blocks));
    device::launch({.kernel = "route_group_keys", .grid = blocks, .block = route_tuning::threads, .stream = stream},
                   route_group_keys_kernel<std::uint64_t>, s.ids[1], s.keys[0], items, p.group_size * per_unit);
    sort.run(stream, s.sort, s.sort_bytes, s.keys[0], s.keys[1], s.ids[1], s.ids[0], items, groups);
    s.order = s.ids[0];
  }
}

/// The largest number of blocks that some step has work for.
template <class Router, class Capacity, class Balance, class C>
int route_grid(const sparse_plan<C>& p, const route_scratch<C>& s) {
  using schedule = route_schedule<Router, Capacity>;
  const index warps = route_tuning::warps, E = p.experts, G = p.groups;
  const auto lists = [&](index n, index length) {
    return ceil_div(n, length <= route_tuning::short_list ? route_tuning::threads : warps);
  };
  index most = std::max<index>(s.tiles, G);
  most = std::max(most, lists(G * Balance::columns * E, s.tiles_per_group));
  if (schedule::by_unit) most = std::max(most, lists(G * E, s.item_tiles));
  return static_cast<int>(std::clamp<index>(most, 1, route_tuning::most_blocks));
}
}  // namespace detail

/// Bytes of `workspace` for calls with the sizes of `plan`, or smaller ones.  `sort` is asked where the priority sorts.
template <class Router, class Capacity, class Balance, class C>
std::size_t route_workspace_bytes(const sparse_plan<C>& plan, const route_sort& sort = {}) {
  arena dry;
  cut_route_scratch<Router, Capacity, Balance>(plan, dry);
  return dry.used() + detail::route_sort_bytes<Router, Capacity, Balance>(plan, sort);
}

/// Sorts of a forward call.  Keys of double scores leave no room for the group, which then takes a second sort.
template <class Router, class Capacity, class C = float>
constexpr int route_sorts(bool several_groups = true) {
  if (!route_schedule<Router, Capacity>::ordered) return 0;
  return !group_in_key<C> && several_groups ? 2 : 1;
}
/// Launches of a forward call, without those inside a sort: cooperative, or one per step.
template <class Router, class Capacity, class C = float>
constexpr int route_launches(bool cooperative, bool several_groups = true) {
  using schedule = route_schedule<Router, Capacity>;
  const int keys = route_sorts<Router, Capacity, C>(several_groups) == 2;  // of the second sort
  // The launches that the cooperative one is cut into by what stands between its steps.
  const int parts = 1 + schedule::recipe.columns() + schedule::ordered;
  return (cooperative ? parts : schedule::steps) + keys + schedule::plans + schedule::picked +
         logits_launches<Router>();
}
/// Launches of a backward call: rows and the products behind them; before them the gates and the way back of a plan
/// that gates are made of.
template <class Router>
constexpr int route_backward_launches() {
  return 1 + logits_backward_launches<Router>() + (weighs_plan<Router> ? 2 : 0);
}

/// Largest grid of a cooperative forward launch on the current device.  For use at bind: it asks the driver.
template <class Router, class Capacity, class Balance, class Combine, int Most = max_experts, class T>
int route_cooperative_blocks(const route_args<T>& args) {
  return detail::with_route_tier<Most>(args.plan.experts, [&]<class Tier>(Tier) {
    return device::max_cooperative_blocks(
        route_forward_kernel<Router, Capacity, Balance, Combine, Tier::value, T>, route_tuning::threads,
        route_shared<Router, Balance, Tier::value, compute_t<T>>::bytes(args.plan.experts));
  });
}

/// Largest grid of a cooperative launch of the group plan on the current device; 0 for routers without one.  For use at
/// bind.
template <class Router, class Capacity, class T>
int route_plan_blocks() {
  if constexpr (!route_schedule<Router, Capacity>::plans) {
    return 0;
  } else {
    const std::size_t shared = column_shared::bytes(route_tuning::plan_threads / device::warp_size);
    int blocks =
        device::max_cooperative_blocks(route_plan_kernel<false, Router, T>, route_tuning::plan_threads, shared);
    if constexpr (weighs_plan<Router>)
      blocks = std::min(blocks, device::max_cooperative_blocks(route_plan_kernel<true, Router, T>,
                                                               route_tuning::plan_threads, shared));
    return std::min(blocks, route_tuning::most_plan_blocks);
  }
}

namespace detail {
/// The plans of all groups, or the way back through them.  `whole`: what they keep is to be found in memory afterwards.
template <bool Backward, class Router, class T>
void launch_route_plan(device::stream_handle stream, const Router& router, const route_args<T>& a,
                       const route_scratch<compute_t<T>>& scratch, bool whole = weighs_plan<Router>) {
  using C = compute_t<T>;
  const sparse_plan<C>& p = a.plan;
  const int G = p.groups;
  if (G == 0) return;
  plan_teams by;
  by.kept_cols = router.kept(p.group_size, p.experts);
  require(by.kept_cols <= a.kept_cols, "route: the plan of a group keeps ", by.kept_cols,
          " numbers, memory was bound for ", a.kept_cols);
  const index cells = index{p.group_size} * p.experts;
  if (cells > route_tuning::plan_whole && a.plan_blocks / G > 1)
    by.blocks = static_cast<int>(std::min<index>(ceil_div(cells, route_tuning::plan_share), a.plan_blocks / G));
  by.teams = by.blocks > 1 ? G : std::min(G, route_tuning::most_blocks);
  std::size_t shared = column_shared::bytes(route_tuning::plan_threads / device::warp_size);
  const std::size_t kept = static_cast<std::size_t>(by.kept_cols) * sizeof(C);
  by.in_shared = !whole && by.blocks == 1 && shared + kept <= route_tuning::plan_shared;
  if (by.in_shared) shared += kept;
  device::launch({.kernel = Backward ? "route_plan_backward" : "route_plan",
                  .grid = by.blocks * by.teams,
                  .block = route_tuning::plan_threads,
                  .shared = shared,
                  .stream = stream,
                  .cooperative = by.blocks > 1},
                 route_plan_kernel<Backward, Router, T>, route_plan_call<Router, T>{router, a, scratch, by});
}
/// Experts pick their units.
template <class Router, class T>
void launch_route_pick(device::stream_handle stream, const route_args<T>& a,
                       const route_scratch<compute_t<T>>& scratch) {
  const index runs = index{a.plan.experts} * a.plan.groups;
  const auto launch = [&]<pick_rule Rule, int Threads>(std::integral_constant<pick_rule, Rule>,
                                                       std::integral_constant<int, Threads>, int teams) {
    device::launch({.kernel = "route_pick",
                    .grid = static_cast<int>(std::min<index>(ceil_div(runs, teams), route_tuning::most_blocks)),
                    .block = Threads,
                    .shared = column_shared::bytes(teams),
                    .stream = stream},
                   route_pick_kernel<Rule, Threads, T>, a, scratch);
  };
  const auto by = [&](auto rule) {
    if (a.plan.group_size > device::block_lanes::warp_line)
      launch(rule, std::integral_constant<int, route_tuning::pick_threads>{}, 1);
    else
      launch(rule, std::integral_constant<int, route_tuning::short_pick_threads>{},
             route_tuning::short_pick_threads / device::warp_size);
  };
  if constexpr (learns_thresholds<Router>) {
    if (a.mode == run_mode::train)
      by(std::integral_constant<pick_rule, pick_rule::by_rank_and_count>{});
    else
      by(std::integral_constant<pick_rule, pick_rule::above>{});
  } else {
    by(std::integral_constant<pick_rule, picks_positive<Router> ? pick_rule::above : pick_rule::by_rank>{});
  }
}
}  // namespace detail

/// From router input to plan, weights, balance values and statistics; asynchronous.  `Most` bounds the experts, where
/// they are known to be few: fewer kernels are compiled.
template <class Router, class Capacity, class Balance, class Combine, int Most = max_experts, class T>
void route_forward_cuda(device::stream_handle stream, const Router& router, const Balance& balance,
                        const Combine& combine, const route_args<T>& args, const route_sort& sort = {}) {
  using C = compute_t<T>;
  using schedule = route_schedule<Router, Capacity>;
  static_assert(std::is_same_v<C, float> || std::is_same_v<C, double>,
                "polymoe: the CUDA router computes in float or double");
  const sparse_plan<C>& p = args.plan;
  require(!schedule::by_unit || schedule::K <= p.experts, "route: the router takes K = ", schedule::K,
          " experts per unit, there are only ", p.experts);
  require(!schedule::fallback || p.all_experts == p.experts + 1, "route: a fallback expert makes ", p.experts + 1,
          " experts, the plan has ", p.all_experts);
  route_call<Router, Balance, Combine, T> call{router, balance, combine, {}, args, {}};
  for (int i = 0; i < Balance::terms; ++i) call.weights.of[i] = balance.weight_of(i);
  arena work(args.workspace, args.workspace_bytes);
  call.scratch = cut_route_scratch<Router, Capacity, Balance>(p, work);
  call.scratch.sort = static_cast<std::byte*>(args.workspace) + work.used();
  call.scratch.sort_bytes = args.workspace_bytes - work.used();
  if constexpr (schedule::ordered)
    require(sort.run, "route: this priority needs a sort; pass device::radix_sort() of dispatch/sort.cuh");

  detail::launch_logits_inputs<Router>(stream, args);
  detail::with_route_tier<Most>(p.experts, [&]<class Tier>(Tier) {
    const int grid = detail::route_grid<Router, Capacity, Balance>(p, call.scratch);
    const bool cooperative = args.cooperative_blocks > 0;
    const auto run = [&](int first, int last) {
      const device::launch_shape shape{.kernel = "route_forward",
                                       .grid = cooperative ? std::min(grid, args.cooperative_blocks) : grid,
                                       .block = route_tuning::threads,
                                       .shared = route_shared<Router, Balance, Tier::value, C>::bytes(p.experts),
                                       .stream = stream,
                                       .cooperative = cooperative && last - first > 1};
      device::launch(shape, route_forward_kernel<Router, Capacity, Balance, Combine, Tier::value, T>, call, first,
                     last);
    };
    const auto steps = [&](int first, int last) {
      if (cooperative) return run(first, last);
      for (int i = first; i < last; ++i) run(i, i + 1);
    };
    int done = 0;
    const auto up_to = [&](int last) { steps(std::exchange(done, last), last); };
    if constexpr (schedule::plans) {
      up_to(1);
      detail::launch_route_plan<false>(stream, router, args, call.scratch);
    }
    if constexpr (schedule::picked) {
      if (!schedule::plans) up_to(1);
      detail::launch_route_pick<Router>(stream, args, call.scratch);
    }
    if constexpr (schedule::ordered) {
      up_to(schedule::first_steps);
      detail::sort_route_items<Router, Capacity>(stream, p, sort, call.scratch);
    }
    up_to(schedule::steps);
  });
}

/// The plans of the last forward call once more, from its scores, with the same bits; what they keep lies in memory.
template <class Router, class Capacity, class Balance, class T>
void remake_route_plans(device::stream_handle stream, const Router& router, const route_args<T>& args) {
  arena work(args.workspace, args.workspace_bytes);
  detail::launch_route_plan<false>(stream, router, args,
                                   cut_route_scratch<Router, Capacity, Balance>(args.plan, work), true);
}

/// Gradients of the router from those of the weights (d_gate, d_skip) and of the balance losses; asynchronous.
template <class Router, class Capacity, class Balance, class Combine, int Most = max_experts, class T>
void route_backward_cuda(device::stream_handle stream, const Router& router, const Balance& balance,
                         const Combine& combine, const route_backward_args<T>& b) {
  using C = compute_t<T>;
  const route_args<T>& a = b.forward;
  const int units = a.plan.tokens, E = a.plan.experts;
  if (units == 0) return;
  detail::with_route_tier<Most>(E, [&]<class Tier>(Tier) {
    using lanes = route_lanes<Tier::value>;
    const index blocks = std::min<index>(ceil_div(units, lanes::units), route_tuning::most_blocks);
    const route_backward_call<Router, Balance, Combine, T> call{router, balance, combine, b};
    const auto rows = [&](const char* name) {
      return device::launch_shape{.kernel = name,
                                  .grid = static_cast<int>(blocks),
                                  .block = route_tuning::threads,
                                  .shared = route_backward_shared<Router, Tier::value, C>(),
                                  .stream = stream};
    };
    if constexpr (weighs_plan<Router>) {
      arena work(a.workspace, a.workspace_bytes);
      const route_scratch<C> scratch = cut_route_scratch<Router, Capacity, Balance>(a.plan, work);
      device::launch(rows("route_gates"), route_gates_kernel<Router, Capacity, Balance, Combine, Tier::value, T>, call,
                     scratch.plan_words);
      detail::launch_route_plan<true>(stream, router, a, scratch);
    }
    device::launch(rows("route_backward_rows"),
                   route_backward_rows_kernel<Router, Capacity, Balance, Combine, Tier::value, T>, call);
  });
  detail::launch_logits_backward<Router>(stream, b);
}

}  // namespace polymoe
