// The router's forward on CUDA: logits, rows, places, weights, balance losses and statistics, as steps between
// barriers.
//
// One kernel holds all steps.  A cooperative launch runs them all with a barrier of the grid between two; where that is
// not to be had, every step is a launch of its own of the same kernel.  Work is cut by sizes only and every sum has a
// fixed order, so both ways, any grid and any order of blocks give the same bits.
//
//   rows      per tile of 64 units: logits, the row through route_row() (the text the CPU runs with one lane), shares
//             of balance and statistics; by position also the histogram of wishes
//   choose    behind a group plan, from its rows: choices, or the weights of a mixture (columns.cuh makes the plan)
//   ...       places, see place.cuh; sums over tiles run beside the first scan
//   offsets   first slots; balance values and cotangents, a block per group
//   finish    slots, units, weights; statistics and the values of the call
#pragma once

#include "route_cosine.cuh"
#include "route_finish.cuh"

namespace polymoe::inline v0 {

/// Layout of dynamic shared memory; the parts of one step share it with those of the others.
template <class Router, class Balance, int Tier, class C>
struct route_shared {
  static constexpr std::size_t reserved = route_exchange_bytes;
  static constexpr int units = route_lanes<Tier>::units;
  static constexpr std::size_t choice_bytes = static_cast<std::size_t>(round_up(sizeof(mixture_choice<Tier, C>), 16));
  static constexpr std::size_t mixture_bytes = Router::k == every_expert ? choice_bytes : 0;
  /// Where the lists of a tile begin; then the choices of units that experts picked.
  static constexpr std::size_t lists =
      reserved + static_cast<std::size_t>(round_up((route_tuning::tile_units + 1) * index{sizeof(int)}, 16));
  /// Sums of one tile per unit in flight: columns + 1 rows; then entropy and margin, then the mixture's choices.
  POLYMOE_HD static constexpr std::size_t decisions(int experts) {
    return reserved + static_cast<std::size_t>(
                          round_up(static_cast<index>(sizeof(C)) * units * (Balance::columns + 1) * experts, 16));
  }
  POLYMOE_HD static constexpr std::size_t choices(int experts) {
    return decisions(experts) + static_cast<std::size_t>(units) * 2 * sizeof(double);
  }
  POLYMOE_HD static constexpr std::size_t counts(int experts) {
    return choices(experts) + static_cast<std::size_t>(units) * mixture_bytes;
  }
  static constexpr std::size_t bytes(int experts) {
    const auto larger = [](std::size_t a, std::size_t b) { return a > b ? a : b; };
    const std::size_t rows = counts(experts) + static_cast<std::size_t>(units) * sizeof(int);
    const std::size_t histograms =
        reserved + static_cast<std::size_t>(route_tuning::warps) * static_cast<std::size_t>(experts) * sizeof(int);
    const std::size_t totals =
        reserved + 2 * sizeof(C) * static_cast<std::size_t>(Balance::columns) * static_cast<std::size_t>(experts);
    const std::size_t picks =
        Router::k == picked_by_experts ? lists + static_cast<std::size_t>(units) * choice_bytes : 0;
    return larger(larger(larger(rows, picks), histograms), larger(totals, reserved + product_shape::bytes(sizeof(C))));
  }
};

template <class Router, class Capacity, class Balance, class Combine, int Tier, class T>
struct route_phases : finish_phases<Router, Capacity, Balance, Combine, T> {
  using C = compute_t<T>;
  using lanes = route_lanes<Tier>;
  using Row = row<typename lanes::type, Tier, C>;
  using base = finish_phases<Router, Capacity, Balance, Combine, T>;
  using schedule = route_schedule<Router, Capacity>;
  using layout = route_shared<Router, Balance, Tier, C>;
  static constexpr int K = schedule::K, columns = Balance::columns;
  using base::a, base::w, base::call, base::balanced, base::shared_numbers;

  POLYMOE_DEVICE explicit route_phases(const route_call<Router, Balance, Combine, T>& c) : base(c) {}

  // ---- rows ----

  POLYMOE_DEVICE void rows() const {
    const int E = a.plan.experts;
    if (device::block_index().x == 0) {
      for (int e = device::thread_rank(); e < a.plan.all_experts; e += route_tuning::threads) w.run_total[e] = 0;
      for (int e = device::thread_rank(); e < E; e += route_tuning::threads) a.wished[e] = 0;
      if constexpr (learns_thresholds<Router>)
        for (int e = device::thread_rank(); e < E; e += route_tuning::threads) w.above[e] = 0;
      if (device::thread_rank() == 0) *w.moved = 0;
      if constexpr (schedule::plans)
        for (index i = device::thread_rank(); i < index{2} * a.plan.groups; i += route_tuning::threads)
          w.plan_words[i] = 0;
    }
    const route_values values = route_values_of(a);
    [[maybe_unused]] const auto noise = input_noise_of<perturbs_input<Router>>(a);
    for (int tile = device::block_index().x; tile < w.tiles; tile += device::grid_size().x) {
      const unit_tile u = this->tile_of(tile);
      if constexpr (has_cosine_logits<Router>) {
        const auto h = compared_rows_of(a);
        const cosine_of<C> finish{cosine_scale(*a.cosine.log_scale, a.cosine.largest_scale), a.cosine.unit_length,
                                  a.cosine.expert_length};
        logits_tile<C>(shared_numbers(), h.data, h.stride, a.cosine.width, a.weight, no_input_noise{}, finish, a.logits,
                       E, E, u.first, u.end);
      } else {
        logits_tile<T>(shared_numbers(), a.input, a.input_stride, a.dim, a.weight, noise, plus_bias<C>{a.weight_bias},
                       a.logits, E, E, u.first, u.end);
      }
      if constexpr (projections < Router >> 1)
        logits_tile<T>(shared_numbers(), a.input, a.input_stride, a.dim, a.noise_weight, noise,
                       plus_bias<C>{a.noise_bias}, a.raw, E, E, u.first, u.end);
      device::sync_block();
      rows_of_tile(values, tile, u);
      if constexpr (schedule::by_unit && !schedule::ordered && !schedule::plans) {
        device::sync_block();
        this->count_unit_tile(tile, 0);
      }
      device::sync_block();
      if constexpr (schedule::picked && !schedule::plans) store_columns(u);
    }
  }
  /// Keys of a tile, column by column.
  POLYMOE_DEVICE void store_columns(const unit_tile& u) const {
    const index E = a.plan.experts;
    for (index e = device::warp(); e < E; e += route_tuning::warps)
      for (index t = u.first + device::lane(); t < u.end; t += device::warp_size)
        w.columns[e * a.plan.tokens + t] = a.plan.bad[t] ? ~column_key<C>(0) : descending_key(a.scores[t * E + e]);
  }

  /// What a unit chooses, or how a mixture weighs it, from its row of the group plan.
  POLYMOE_NOINLINE POLYMOE_DEVICE void choose() const {
    const int E = a.plan.experts;
    random_stream draw;
    if constexpr (schedule::at_random) draw = route_values_of(a).draw;
    for (int tile = device::block_index().x; tile < w.tiles; tile += device::grid_size().x) {
      const unit_tile u = this->tile_of(tile);
      for (int t = u.first + lanes::unit(); t < u.end; t += lanes::units) {
        const Row affinities = load_route_row<Row>(a.affinity + index{t} * E, E);
        const bool finite = !a.plan.bad[t];
        if constexpr (schedule::mixture) {
          weigh_all(t, affinities, finite);
        } else {
          const auto chosen = call.router.select(affinities);
          if (affinities.g.lane() == 0)
            for (int j = 0; j < K; ++j) a.wish[index{t} * K + j] = finite ? chosen.expert[j] : -1;
          if constexpr (schedule::ordered) store_keys(draw, t, u.group, affinities, chosen, finite);
        }
      }
      if constexpr (schedule::by_unit && !schedule::ordered) {
        device::sync_block();
        this->count_unit_tile(tile, 0);
      }
      device::sync_block();
    }
  }

  /// The lists of the units that experts picked, and the weights of their slots.
  POLYMOE_NOINLINE POLYMOE_DEVICE void finish_picks() const {
    int* const begins = device::shared<int>(layout::reserved);
    auto* const m = reinterpret_cast<mixture_choice<Tier, C>*>(device::shared<std::byte>(layout::lists) +
                                                               lanes::unit() * layout::choice_bytes);
    for (int tile = device::block_index().x; tile < w.tiles; tile += device::grid_size().x) {
      const unit_tile u = this->tile_of(tile);
      this->list_tile(tile, begins);
      for (int t = u.first + lanes::unit(); t < u.end; t += lanes::units) {
        const int first = begins[t - u.first], n = begins[t - u.first + 1] - first;
        const typename Row::lanes lane{};
        if (n == 0) {
          if (rest_to_unit<Combine> && lane.lane() == 0) a.plan.skip.set(0, t, a.plan.bad[t] ? C(0) : C(1));
          continue;
        }
        load_picks<Row>(a, gate_scores<Router>(a), t, first, n, m);
        if (lane.lane() == 0) {
          call.combine.weigh(m->c, m->weight);
          if (rest_to_unit<Combine>) a.plan.skip.set(0, t, rest_of(m->c, m->weight));
        }
        lanes::sync();
        for (int j = lane.lane(); j < n; j += Row::lanes::width)
          a.plan.gate.set(0, a.plan.slot_of[first + j], m->weight[j]);
      }
      device::sync_block();
    }
    if (a.plan.tokens == 0 && device::block_index().x == 0 && device::thread_rank() == 0) a.plan.slots_begin[0] = 0;
  }

  POLYMOE_NOINLINE POLYMOE_DEVICE void rows_of_tile(const route_values& values, int tile, const unit_tile& u) const {
    const int E = a.plan.experts, slot = lanes::unit();
    C* const sums = shared_numbers() + index{slot} * (columns + 1) * E;  // columns of balance, then gate mass
    double* const decisions = device::shared<double>(layout::decisions(E)) + 2 * slot;
    int* const counts = device::shared<int>(layout::counts(E)) + slot;
    const Row zero = zero_route_row<Row>(E);
    for (int c = 0; c <= columns; ++c) store_route_row(zero, sums + index{c} * E);
    double entropy = 0, margin = 0;
    int finite = 0;
    for (int t = u.first + slot; t < u.end; t += lanes::units) {
      const Row logits = load_route_row<Row>(a.logits + index{t} * E, E);
      const Row raw = projections<Router> > 1 ? load_route_row<Row>(a.raw + index{t} * E, E) : logits;
      auto r = route_row(call.router, values, logits, raw, index{t});
      r.finite = r.finite && r.scores.finite();
      store_route_row(r.finite ? r.scores : zero, a.scores + index{t} * E);
      if constexpr (perturbs_logits<Router, Row>) store_route_row(r.noisy, a.noisy + index{t} * E);
      if (logits.g.lane() == 0) {
        a.plan.bad[t] = !r.finite;
        if constexpr (schedule::by_unit && !schedule::plans)
          for (int j = 0; j < K; ++j) a.wish[index{t} * K + j] = r.finite ? r.chosen.expert[j] : -1;
      }
      if constexpr (schedule::ordered && !schedule::plans)
        store_keys(values.draw, t, u.group, r.scores, r.chosen, r.finite);
      if constexpr (schedule::mixture && !schedule::plans) weigh_all(t, r.scores, r.finite);
      if (!r.finite) continue;
      ++finite;
      if constexpr (columns > 0) {
        if (balanced()) {
          Row share[columns];
          for (int c = 0; c < columns; ++c) share[c] = zero;
          const Row clean = Balance::needs_clean_scores ? clean_scores_of(call.router, values, r) : r.scores;
          this->balance().partial(make_row_info<Balance>(r, clean, a.target ? a.target[t] : -1), share);
          POLYMOE_UNROLL
          for (int c = 0; c < columns; ++c) add_to(sums + index{c} * E, share[c]);
        }
      }
      add_to(sums + index{columns} * E, r.scores);
      const auto decision = decision_of(r.scores);
      entropy += static_cast<double>(decision.entropy), margin += static_cast<double>(decision.margin);
    }
    if (zero.g.lane() == 0) decisions[0] = entropy, decisions[1] = margin, *counts = finite;

    // The units in flight add their sums in order.
    device::sync_block();
    const C* const all = shared_numbers();
    for (int i = device::thread_rank(); i < (columns + 1) * E; i += route_tuning::threads) {
      C s(0);
      for (int k = 0; k < lanes::units; ++k) s += all[index{k} * (columns + 1) * E + i];
      if (i < columns * E)
        w.partial[index{tile} * columns * E + i] = s;
      else
        w.tile_stats[index{tile} * (E + 2) + i - columns * E] = static_cast<double>(s);
    }
    if (device::thread_rank() == 0) {
      double sum[2] = {0, 0};
      int n = 0;
      for (int k = 0; k < lanes::units; ++k) {
        sum[0] += decisions[2 * k], sum[1] += decisions[2 * k + 1];
        n += counts[k];
      }
      double* const to = w.tile_stats + index{tile} * (E + 2) + E;
      to[0] = sum[0], to[1] = sum[1];
      w.tile_finite[tile] = n;
    }
  }
  POLYMOE_DEVICE static void add_to(C* sums, const Row& r) {
    POLYMOE_UNROLL
    for (int i = 0; i < Row::per_lane; ++i)
      if (r.present(i)) sums[r.expert(i)] += r.v[i];
  }
  /// Keys for sorting units by their first score or by a drawn number, or choices by their scores.
  template <class Choice>
  POLYMOE_DEVICE void store_keys([[maybe_unused]] const random_stream& draw, int t, int group, const Row& scores,
                                 const Choice& chosen, bool finite) const {
    for (int j = 0; j < (schedule::by_choice ? K : 1); ++j) {
      C score(0);
      if constexpr (schedule::at_random)
        score = C(priority::random::key(draw, a.mode == run_mode::train, t));
      else
        score = finite ? scores.at(chosen.expert[j]) : C(0);
      const index id = schedule::by_choice ? index{t} * K + j : index{t};
      if (scores.g.lane() == 0)
        w.keys[0][id] = order_key(score, finite, group), w.ids[0][id] = static_cast<int>(id);
    }
  }
  /// The weights of a mixture: every expert serves.
  POLYMOE_DEVICE void weigh_all(int t, const Row& scores, bool finite) const {
    using choice_type = mixture_choice<Tier, C>;
    const int E = a.plan.experts;
    auto* const m = reinterpret_cast<choice_type*>(device::shared<std::byte>(layout::choices(E)) +
                                                   lanes::unit() * layout::mixture_bytes);
    if (finite) {
      lanes::sync();
      POLYMOE_UNROLL
      for (int i = 0; i < Row::per_lane; ++i)
        if (scores.present(i)) m->c.score[scores.expert(i)] = scores.v[i], m->c.kept[scores.expert(i)] = true;
      lanes::sync();
      if (scores.g.lane() == 0) {
        m->c.n = E;
        call.combine.weigh(m->c, m->weight);
      }
      lanes::sync();
    }
    if (rest_to_unit<Combine> && scores.g.lane() == 0) a.plan.skip.set(0, t, finite ? rest_of(m->c, m->weight) : C(0));
    POLYMOE_UNROLL
    for (int i = 0; i < Row::per_lane; ++i)
      if (scores.present(i))
        a.plan.gate.set(0, index{scores.expert(i)} * a.plan.tokens + t, finite ? m->weight[scores.expert(i)] : C(0));
  }

  // ---- the step ----

  POLYMOE_DEVICE void run(int i) const {
    const auto at = schedule::at(i);
    switch (at.step) {
      case route_step::rows:
        return rows();
      case route_step::choose:
        if constexpr (schedule::chooses_later) choose();
        return;
      case route_step::scan:
        if constexpr (schedule::by_unit) this->scan(at.round);
        if constexpr (schedule::picked) this->count_picks();
        if (at.round == 0) this->sums();
        return;
      case route_step::count:
        if constexpr (schedule::ordered) this->count(at.round);
        return;
      case route_step::place:
        if constexpr (schedule::by_unit && (!schedule::place_in_finish || schedule::rounds > 0)) this->place(at.round);
        return;
      case route_step::propose:
        if constexpr (schedule::ordered && schedule::rounds > 0) this->propose(at.round);
        return;
      case route_step::overflow:
        if constexpr (schedule::fallback) this->overflow();
        return;
      case route_step::overflow_scan:
        if constexpr (schedule::fallback) this->overflow_scan();
        return;
      case route_step::offsets:
        if constexpr (schedule::mixture) {
          this->begin_of_mixture();
        } else {
          this->offsets();
        }
        if constexpr (schedule::picked) this->scan_picks();
        this->balance_of_groups();
        return;
      case route_step::finish:
        if constexpr (schedule::picked) finish_picks();
        return this->finish();
    }
  }
};

/// Steps [first, last) of the call; more than one only in a cooperative launch.
template <class Router, class Capacity, class Balance, class Combine, int Tier, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads,
                                          route_tuning::least_blocks(Tier, sizeof(compute_t<T>) == 8 ||
                                                                               projections<Router> != 1))
    route_forward_kernel(const POLYMOE_GRID_CONSTANT route_call<Router, Balance, Combine, T> call, int first,
                         int last) {
  using phases = route_phases<Router, Capacity, Balance, Combine, Tier, T>;
  // Never true.  A policy that forgot POLYMOE_HD is named by the compiler only where a kernel calls it directly.
  if (call.args.plan.tokens < 0)
    call.args.scores[0] = call.router.scores(zero_route_row<typename phases::Row>(call.args.plan.experts)).v[0];
  const phases p(call);
  for (int i = first; i < last; ++i) {
    if (i > first) device::sync_grid(call.args.barrier);
    p.run(i);
  }
}

/// Double scores leave no room for the group in their key: the ids, sorted by score, get their group as the next key.
/// A template, so that a header may hold it.
template <class Key>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads)
    route_group_keys_kernel(const int* ids, Key* keys, int n, int per_group) {
  over_threads(n, [&](index i) { keys[i] = static_cast<Key>(ids[i] / per_group); });
}

}  // namespace polymoe
