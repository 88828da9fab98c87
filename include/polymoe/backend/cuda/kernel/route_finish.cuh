// The end of the router's forward: sums over tiles, balance values, slots and weights, statistics.
//
// Nothing here depends on the row tier, so each function is compiled once for all of them.
#pragma once

#include "place.cuh"

namespace polymoe::inline v0 {

/// The weights of the balance terms; policies answer for them on the host.
template <int Terms>
struct route_weights_of_terms {
  float of[Terms > 0 ? Terms : 1] = {};
};

template <class Router, class Balance, class Combine, class T>
struct route_call {
  Router router;
  Balance balance;
  Combine combine;
  route_weights_of_terms<Balance::terms> weights;
  route_args<T> args;
  route_scratch<compute_t<T>> scratch;
};

template <class Router, class Capacity, class Balance, class Combine, class T>
struct finish_phases : place_phases<Router, Capacity, T> {
  using C = compute_t<T>;
  using places = place_phases<Router, Capacity, T>;
  using schedule = route_schedule<Router, Capacity>;
  static constexpr int K = schedule::K, columns = Balance::columns, terms = Balance::terms;
  using places::a, places::w;
  const route_call<Router, Balance, Combine, T>& call;

  POLYMOE_DEVICE explicit finish_phases(const route_call<Router, Balance, Combine, T>& c)
      : places{c.args, c.scratch}, call(c) {}
  POLYMOE_DEVICE bool balanced() const { return columns > 0 && a.mode == run_mode::train && a.plan.tokens > 0; }
  /// The losses with the state of the call.
  POLYMOE_DEVICE decltype(auto) balance() const {
    if constexpr (Balance::adapts) {
      Balance b = call.balance;
      b.adaptive().coefficient = *a.coefficient;
      return b;
    } else {
      return (call.balance);
    }
  }
  POLYMOE_DEVICE static C* shared_numbers() { return device::shared<C>(route_exchange_bytes); }

  // ---- sums over tiles ----

  POLYMOE_NOINLINE POLYMOE_DEVICE void sums() const {
    const int E = a.plan.experts, per_group = w.tiles_per_group;
    if (balanced())
      over_lists(index{a.plan.groups} * columns * E, per_group, [&]<class Width>(index i, Width, int lane) {
        const index g = i / (columns * E), column = i % (columns * E);
        C s(0);
        for (int k = lane; k < per_group; k += Width::value) s += w.partial[(g * per_group + k) * columns * E + column];
        s = lanes_sum<Width::value>(s);
        if (lane == 0) a.totals[i] = s;
      });
    over_lists(a.plan.groups, per_group, [&]<class Width>(index g, Width, int lane) {
      int n = 0;
      for (int k = lane; k < per_group; k += Width::value) n += w.tile_finite[g * per_group + k];
      n = lanes_sum<Width::value>(n);
      if (lane == 0) w.group_finite[g] = n;
    });
    over_lists(E + 2, w.tiles, [&]<class Width>(index e, Width, int lane) {
      double s = 0;
      for (int k = lane; k < w.tiles; k += Width::value) s += w.tile_stats[index{k} * (E + 2) + e];
      s = lanes_sum<Width::value>(s);
      if (lane == 0) (e < E ? a.gate_mass[e] : w.decision[e - E]) = s;
    });
  }

  /// Values and cotangents of the balance losses, one block per group.  The policies' loops over experts are written
  /// for one thread: one makes the values, one of another warp the cotangents, both from shared memory.
  POLYMOE_NOINLINE POLYMOE_DEVICE void balance_of_groups() const {
    if constexpr (columns > 0) {
      if (!balanced()) return;
      const int E = a.plan.experts, n = columns * E;
      const step_state step = a.step ? *a.step : step_state{};
      const C share = C(1) / C(static_cast<float>(a.plan.groups));
      C* const total = shared_numbers();
      C* const cot = total + n;
      // From the last block on: the first ones have the experts.
      const int blocks = device::grid_size().x;
      for (int g = blocks - 1 - device::block_index().x; g < a.plan.groups; g += blocks) {
        device::sync_block();
        for (int i = device::thread_rank(); i < n; i += route_tuning::threads) total[i] = a.totals[index{g} * n + i];
        device::sync_block();
        const int units = w.group_finite[g], count = units > 0 ? units : 1;
        if (device::thread_rank() == 0) {
          C value[terms];
          balance().values(total, E, index{count}, value);
          for (int i = 0; i < terms; ++i) w.group_values[index{g} * terms + i] = units > 0 ? value[i] : C(0);
        }
        if (device::thread_rank() == 32) balance().cotangents(total, E, index{count}, C(step.balance) * share, cot);
        device::sync_block();
        for (int i = device::thread_rank(); i < n; i += route_tuning::threads)
          a.cotangents[index{g} * n + i] = units > 0 ? cot[i] : C(0);
      }
    }
  }

  // ---- finish ----

  POLYMOE_NOINLINE POLYMOE_DEVICE void finish() const {
    if constexpr (schedule::by_unit) {
      for (int tile = device::block_index().x; tile < w.tiles; tile += device::grid_size().x) {
        if constexpr (schedule::place_in_finish) {
          this->place_unit_tile(tile, schedule::rounds);
          device::sync_block();
        }
        finish_tile(tile);
      }
    }
    if constexpr (!schedule::mixture) this->clear_tails();
    if (device::block_index().x == device::grid_size().x - 1) {
      if (device::warp() == 0) statistics();
      if (device::warp() == 1) values_of_call();
    }
  }

  /// Slots, units and weights of one tile: the first two warps, one thread per unit.
  POLYMOE_DEVICE void finish_tile(int tile) const {
    const sparse_plan<C>& p = a.plan;
    const unit_tile u = this->tile_of(tile);
    const int half = device::warp();
    if (half >= route_tuning::tile_units / 32) return;
    unsigned over[2] = {0, 0};
    if constexpr (schedule::fallback) this->overflowing(u, &over[0], &over[1]);
    const int t = u.first + 32 * half + device::lane();
    if (t >= u.end) return;
    int fallback_slot = -1;
    if constexpr (schedule::fallback) {
      const unsigned mine = over[half], bit = 1u << device::lane();
      if (mine & bit) {
        fallback_slot = p.run_begin[index{p.experts} * p.groups + u.group] + w.overflow[tile] +
                        device::popcount(mine & (bit - 1)) + (half ? device::popcount(over[0]) : 0);
        p.token[fallback_slot] = t;
      }
      p.fallback_slot[t] = fallback_slot;
    }
    const chosen_scores<K, C> c = served_choices<K>(a, gate_scores<Router>(a), t);
    C weight[K] = {};
    if (!p.bad[t]) call.combine.weigh(c, weight);
    C overflow(0);
    bool in_fallback = false;
    POLYMOE_UNROLL
    for (int j = 0; j < K; ++j) {
      const int choice = t * K + j;
      int slot = -1;
      if (a.position[choice] >= 0) {
        slot = p.run_begin[index{p.expert_of[choice]} * p.groups + u.group] + a.position[choice];
        p.token[slot] = t;
        p.gate.set(0, slot, weight[j]);
      } else if (c.kept[j]) {
        overflow += weight[j];
        // The first overflowing choice carries the fallback slot in the inverse, so combine meets it once.
        if (schedule::fallback && !in_fallback) slot = fallback_slot, in_fallback = true;
      }
      p.slot_of[choice] = slot;
    }
    if constexpr (rest_to_unit<Combine>) {
      const C rest = p.bad[t] ? C(0) : rest_of(c, weight);
      p.skip.set(0, t, schedule::fallback ? rest : rest + overflow);
    } else if constexpr (schedule::identity) {
      p.skip.set(0, t, overflow);
    }
    if constexpr (schedule::fallback)
      if (fallback_slot >= 0) p.gate.set(0, fallback_slot, overflow);
  }

  // ---- experts that pick ----

  POLYMOE_DEVICE int position_of(int e, int t) const { return w.picked[index{e} * a.plan.tokens + t]; }
  POLYMOE_DEVICE int picks_of(int t) const {
    int n = 0;
    for (int e = 0; e < a.plan.experts; ++e) n += position_of(e, t) >= 0;
    return n;
  }
  /// One warp a tile: how many slots its units have, and what the statistics say of them.
  POLYMOE_NOINLINE POLYMOE_DEVICE void count_picks() const {
    over_warps(w.tiles, [&](index tile) {
      const unit_tile u = this->tile_of(static_cast<int>(tile));
      int sum = 0, unpicked = 0, least = a.plan.experts, most = 0;
      for (int t = u.first + device::lane(); t < u.end; t += 32) {
        if (a.plan.bad[t]) continue;
        const int n = picks_of(t);
        sum += n, unpicked += n == 0;
        least = n < least ? n : least, most = n > most ? n : most;
      }
      const warp_group all{};
      sum = all.sum(sum), unpicked = all.sum(unpicked), least = all.min(least), most = all.max(most);
      if (device::lane() != 0) return;
      w.tile_picks[tile] = sum;
      w.tile_range[tile * 3] = unpicked, w.tile_range[tile * 3 + 1] = least, w.tile_range[tile * 3 + 2] = most;
    });
  }
  /// One warp: counts become where the lists of each tile begin.
  POLYMOE_DEVICE void scan_picks() const {
    if (device::block_index().x != device::grid_size().x / 2 || device::warp() != 0) return;
    int before = 0;
    for (int k0 = 0; k0 < w.tiles; k0 += 32) {
      const int k = k0 + device::lane(), n = k < w.tiles ? w.tile_picks[k] : 0;
      int all = 0;
      const int at = before + lanes_before<32>(n, &all);
      if (k < w.tiles) w.tile_picks[k] = at;
      before += all;
    }
  }
  /// Slots and lists of the units of one tile, one thread a unit; begins[i] becomes where the list of unit i begins,
  /// that behind the last one where it ends.
  POLYMOE_DEVICE void list_tile(int tile, int* begins) const {
    const sparse_plan<C>& p = a.plan;
    const unit_tile u = this->tile_of(tile);
    const int half = device::warp(), i = 32 * half + device::lane(), t = u.first + i;
    const bool here = half < route_tuning::tile_units / 32 && t < u.end;
    const int n = here && !p.bad[t] ? picks_of(t) : 0;
    int all = 0, at = lanes_before<32>(n, &all);
    if (half == 0 && device::lane() == 0) begins[route_tuning::tile_units] = all;
    device::sync_block();
    at += w.tile_picks[tile] + (half == 1 ? begins[route_tuning::tile_units] : 0);
    device::sync_block();
    if (here) {
      begins[i] = at;
      p.slots_begin[t] = at;
      if (t == u.end - 1) begins[i + 1] = at + n;
      if (t == p.tokens - 1) p.slots_begin[p.tokens] = at + n;
      for (int e = 0; n > 0 && e < p.experts; ++e) {
        const int position = position_of(e, t);
        if (position < 0) continue;
        const int slot = p.run_begin[index{e} * p.groups + u.group] + position;
        p.token[slot] = t;
        p.slot_of[at++] = slot;
      }
    }
    device::sync_block();
  }

  /// One warp fills the statistics and moves the load accumulators.
  POLYMOE_DEVICE void statistics() const {
    const sparse_plan<C>& p = a.plan;
    const int E = p.experts, lane = device::lane();
    index finite = 0, choices = 0, placed = 0;
    for (int g = lane; g < p.groups; g += 32) finite += w.group_finite[g];
    finite = warp_group{}.sum(finite);
    for (int e = lane; e < E; e += 32) {
      const index wished = schedule::mixture ? finite : a.wished[e];
      const index served = schedule::mixture ? finite : index{w.run_total[e]};
      a.wished[e] = wished, a.served[e] = served;
      choices += wished, placed += served;
      if constexpr (Balance::has_bias)
        if (a.mode == run_mode::train) a.load[e] += static_cast<float>(wished);
      if constexpr (learns_thresholds<Router>)
        if (a.mode == run_mode::train && finite > 0)
          a.threshold_gap[e] +=
              static_cast<float>(static_cast<double>(w.above[e] - served) / static_cast<double>(finite));
    }
    choices = warp_group{}.sum(choices), placed = warp_group{}.sum(placed);
    int unpicked = 0, least = E, most = 0;
    if constexpr (schedule::picked) {
      for (int tile = lane; tile < w.tiles; tile += 32) {
        const int* const range = w.tile_range + index{tile} * 3;
        unpicked += range[0], least = range[1] < least ? range[1] : least, most = range[2] > most ? range[2] : most;
      }
      const warp_group all{};
      unpicked = all.sum(unpicked), least = all.min(least), most = all.max(most);
    }
    if (lane != 0) return;
    if constexpr (Balance::adapts)
      if (a.mode == run_mode::train && finite > 0) {
        a.active[0] += static_cast<float>(static_cast<double>(choices) / static_cast<double>(finite * E));
        a.active[1] += 1;
      }
    if constexpr (learns_thresholds<Router>)
      if (a.mode == run_mode::train && finite > 0) a.threshold_gap[E] += 1;
    routing_stats s;
    s.experts = E, s.units = p.tokens;
    s.mixture = schedule::mixture;
    s.choices = choices, s.placed = placed;
    s.moved = *w.moved;
    s.overflow = schedule::fallback || schedule::identity ? choices - placed : 0;
    s.bad_rows = p.tokens - finite;
    if constexpr (schedule::picked)
      s.unpicked = unpicked, s.least_experts = finite > 0 ? least : 0, s.most_experts = most;
    s.entropy = w.decision[0], s.margin = w.decision[1];
    if (finite) s.entropy /= static_cast<double>(finite), s.margin /= static_cast<double>(finite);
    s.gate_mass = a.gate_mass, s.wished = a.wished, s.served = a.served;
    *a.stats = s;
    *p.bad_count = static_cast<int>(s.bad_rows);
  }

  /// One warp: the balance values, mean over groups.
  POLYMOE_DEVICE void values_of_call() const {
    const step_state step = a.step ? *a.step : step_state{};
    C weighted(0);
    for (int i = 0; i < terms; ++i) {
      C s(0);
      if (balanced()) {
        const C share = C(1) / C(static_cast<float>(a.plan.groups));
        for (int g = device::lane(); g < a.plan.groups; g += 32) s += w.group_values[index{g} * terms + i] * share;
        s = warp_group{}.sum(s);
      }
      if (device::lane() == 0) a.values[i] = s;
      weighted += s * C(call.weights.of[i]) * C(step.balance);
    }
    if (device::lane() == 0) a.values[terms] = weighted;
  }
  POLYMOE_DEVICE void begin_of_mixture() const {
    over_threads(a.plan.all_experts + 1, [&](index e) { a.plan.begin[e] = static_cast<int>(e * a.plan.tokens); });
  }
};

}  // namespace polymoe
