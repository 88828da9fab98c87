// The router on the CPU: logits, then every unit's row through the policies, then places, weights and totals.
//
// Rows are cut into tiles of 64 inside a group; each tile sums its share of the balance totals and statistics, and the
// shares are added in tile order, so values have the same bits for any number of threads.
#pragma once

#include "../../combine/combine.hpp"
#include "../../layer/routing_memory.hpp"
#include "../../router/group_plan.hpp"
#include "../../router/reload_row.hpp"
#include "pick.hpp"
#include "place.hpp"
#include "planar.hpp"

namespace polymoe::inline v0 {

/// What the loops below keep of a routing call besides.
template <class C>
struct route_memory : routing_memory<C> {
  view<C> partial;      ///< [tiles, columns * E]
  C* work = nullptr;             ///< [2 * columns * E] totals and cotangents of one group as compute numbers
  double* tile_stats = nullptr;  ///< [tiles, E + 2]
  view<C> affinity;     ///< [T, E] what a group plan found, for routers that make one
  view<C> d_affinity;   ///< [T, E] its gradient, where gates are made of it; afterwards that of the scaled logits
  view<C> kept;         ///< [G, what the group plan keeps for its backward]
  int* kept_steps = nullptr;  ///< [G]
  const float* start = nullptr;  ///< [E] prices that group plans begin with, null without
  float* found = nullptr;        ///< [G, E] those they end with, NaN of groups of bad units
  place_memory place;
  route_values route;
  bool training = true;
  const float* threshold = nullptr;  ///< [E] of an evaluation that picks by thresholds, else null
  bool balanced = false;  ///< balance losses take part in this call
  float balance_scale = 1;
};

namespace detail {

inline constexpr index route_tile = 64;

/// A row length known when the code is compiled: exactly N experts (Full), or at most N.
template <int N, bool Full = false>
struct row_tier {
  template <class C>
  using row_of = row<scalar_group, N, C, Full>;
  static constexpr int value = N;
};
/// Calls f with the row tier for E experts: the usual numbers have code of their own in float, where it pays.
template <class C, class F>
void with_tier([[maybe_unused]] index experts, F f) {
  if constexpr (max_experts <= 8) {
    f(row_tier<8>{});
  } else {
    if constexpr (std::is_same_v<C, float>) {
      if (experts == 8) return f(row_tier<8, true>{});
      if (experts == 16) return f(row_tier<16, true>{});
      if (experts == 32) return f(row_tier<32, true>{});
    }
    if (experts <= 32) return f(row_tier<32>{});
    if (experts <= 128) return f(row_tier<128>{});
    f(row_tier<max_experts>{});
  }
}

template <class Row, class C>
Row load_row(const view<C>& m, index t, int experts) {
  Row r;
  r.n = Row::full ? Row::tier : experts;
  if constexpr (is_dual<C>) {
    for (int e = 0; e < r.n; ++e) r.v[e] = m.get(t, e);
  } else {
    const C* from = m.row(t);
    POLYMOE_SIMD
    for (int e = 0; e < r.local(); ++e) r.v[e] = from[e];
  }
  return r;
}
template <class Row, class C>
void store_row(const Row& r, const view<C>& m, index t) {
  if constexpr (is_dual<C>) {
    for (int e = 0; e < r.n; ++e) m.set(t, e, r.v[e]);
  } else {
    C* to = m.row(t);
    POLYMOE_SIMD
    for (int e = 0; e < r.local(); ++e) to[e] = r.v[e];
  }
}

/// Tiles of rows that never cross a group border.
struct row_tiles {
  index per_group = 0, groups = 0, group_size = 0, tokens = 0;
  template <class C>
  explicit row_tiles(const sparse_plan<C>& p)
      : per_group(ceil_div(p.group_size, route_tile)), groups(p.groups), group_size(p.group_size), tokens(p.tokens) {}
  index count() const { return per_group * groups; }
  void bounds(index tile, index* first, index* end) const {
    const index g = tile / per_group, last = std::min(tokens, (g + 1) * group_size);
    *first = std::min(last, g * group_size + tile % per_group * route_tile);
    *end = std::min(last, *first + route_tile);
  }
};

/// f(tile, its group, first unit, end, a row of zeros) for every tile of units, with the row type that fits E.
template <class C, class Stream, class F>
void over_row_tiles(const Stream& stream, const sparse_plan<C>& p, F f) {
  const row_tiles tiles(p);
  with_tier<C>(p.experts, [&]<class Tier>(Tier) {
    using Row = typename Tier::template row_of<C>;
    parallel_for(stream, tiles.count(), [&](index tile, worker&) {
      index first = 0, end = 0;
      tiles.bounds(tile, &first, &end);
      Row zero;
      zero.n = Row::full ? Row::tier : p.experts;
      for (int e = 0; e < zero.local(); ++e) zero.v[e] = C(0);
      f(tile, tile / tiles.per_group, first, end, zero);
    });
  });
}

}  // namespace detail

/// Rows through the router: scores, wishes, balance shares and statistics.
template <class Router, class Balance, class C, class Stream>
void route_rows(const Stream& stream, const Router& router, const Balance& balance, route_memory<C>& m) {
  sparse_plan<C>& p = m.plan;
  const int E = p.experts;
  const detail::row_tiles tiles(p);
  detail::over_row_tiles(stream, p, [&]<class Row>(index tile, index, index first, index end, const Row& zero) {
    constexpr int columns = Balance::columns;
    Row acc[columns > 0 ? columns : 1];
    for (int c = 0; c < columns; ++c) acc[c] = zero;
    Row mass = zero;
    double entropy = 0, margin = 0;
    for (index t = first; t < end; ++t) {
      const Row logits = detail::load_row<Row>(m.logits, t, E);
      const Row raw = m.raw.ptr[0] ? detail::load_row<Row>(m.raw, t, E) : logits;
      auto r = route_row(router, m.route, logits, raw, t);
      r.finite = r.finite && r.scores.finite();
      p.bad[t] = !r.finite;
      if (!r.finite) {
        detail::store_row(zero, m.scores, t);
        if constexpr (Router::k >= 1)
          for (int j = 0; j < p.k; ++j) m.place.wish[t * p.k + j] = -1;
        continue;
      }
      detail::store_row(r.scores, m.scores, t);
      if (m.noisy.ptr[0]) detail::store_row(r.noisy, m.noisy, t);
      if constexpr (chooses_in_rows<Router>)
        for (int j = 0; j < p.k; ++j) m.place.wish[t * p.k + j] = r.chosen.expert[j];
      if (columns > 0 && m.balanced) {
        const Row clean = Balance::needs_clean_scores ? clean_scores_of(router, m.route, r) : r.scores;
        balance.partial(make_row_info<Balance>(r, clean, m.target ? m.target[t] : -1), acc);
      }
      mass.add(r.scores);
      const auto decision = decision_of(r.scores);
      entropy += static_cast<double>(value_of(decision.entropy));
      margin += static_cast<double>(value_of(decision.margin));
    }
    double* stats = m.tile_stats + tile * (E + 2);
    for (int e = 0; e < E; ++e) stats[e] = static_cast<double>(value_of(mass.v[e]));
    stats[E] = entropy, stats[E + 1] = margin;
    for (int c = 0; c < columns; ++c)
      for (int e = 0; e < E; ++e) m.partial.set(tile, index{c} * E + e, acc[c].v[e]);
  });

  // Totals per group, in tile order; then values and cotangents of the balance losses.
  constexpr int columns = Balance::columns;
  if (columns > 0 && m.balanced) {
    constexpr int terms = Balance::terms;
    C value[terms > 0 ? terms : 1], sums[terms > 0 ? terms : 1];
    for (int i = 0; i < terms; ++i) sums[i] = C(0);
    const C share = C(1) / C(static_cast<float>(p.groups));
    C* total = m.work;
    C* cot = m.work + columns * E;
    for (index g = 0; g < p.groups; ++g) {
      for (int i = 0; i < columns * E; ++i) total[i] = C(0);
      for (index tile = g * tiles.per_group; tile < (g + 1) * tiles.per_group; ++tile)
        for (int i = 0; i < columns * E; ++i) total[i] += m.partial.get(tile, i);
      index units = 0;
      for (index t = g * p.group_size; t < std::min<index>(p.tokens, (g + 1) * p.group_size); ++t) units += !p.bad[t];
      const index n = units > 0 ? units : 1;
      balance.values(total, E, n, value);
      balance.cotangents(total, E, n, C(m.balance_scale) * share, cot);
      if (units == 0)
        for (int i = 0; i < terms; ++i) value[i] = C(0);
      for (int i = 0; i < columns * E; ++i)
        m.totals.set(g, i, total[i]), m.cotangents.set(g, i, units > 0 ? cot[i] : C(0));
      for (int i = 0; i < terms; ++i) sums[i] += value[i] * share;
    }
    C weighted(0);
    for (int i = 0; i < terms; ++i) {
      m.values.set(0, i, sums[i]);
      weighted += sums[i] * C(balance.weight_of(i)) * C(m.balance_scale);
    }
    m.values.set(0, terms, weighted);
  } else {
    for (index i = 0; i < m.values.cols; ++i) m.values.set(0, i, C(0));
  }
}

/// What selections compare, and what gates are made of.
template <class Router, class C>
const view<C>& selection_scores(const route_memory<C>& m) {
  return plans_groups<Router> ? m.affinity : m.scores;
}
template <class Router, class C>
const view<C>& gate_scores(const route_memory<C>& m) {
  return weighs_plan<Router> ? m.affinity : m.scores;
}

namespace detail {
/// Group g as its plan sees it.
template <class Router, class C>
group_cells<C> cells_of(const route_memory<C>& m, index g, int* bins) {
  const sparse_plan<C>& p = m.plan;
  const index first = g * p.group_size, n = std::min<index>(p.group_size, p.tokens - first);
  group_cells<C> a;
  a.logits = (m.noisy.ptr[0] ? m.noisy : m.logits).rows_at(first, n);
  a.inverse_temperature = m.route.inverse_temperature;
  a.bad = p.bad + first;
  a.scores = m.scores.rows_at(first, n);
  a.picked = Router::k == picked_by_experts;
  a.training = m.training;
  a.limit = Router::k >= 1 ? Router::k : a.picked ? p.capacity : p.experts;
  a.bins = bins;
  a.plan = m.affinity.rows_at(first, n);
  a.d_plan = m.d_affinity.rows_at(first, n);
  a.kept = m.kept.rows_at(g, 1);
  a.steps = m.kept_steps + g;
  a.start = m.start;
  a.found = m.found ? m.found + g * p.experts : nullptr;
  return a;
}
}  // namespace detail

/// The plans of all groups, and with K experts per unit the choice from their rows.
template <class Router, class C, class Stream>
void plan_all_groups(const Stream& stream, const Router& router, route_memory<C>& m) {
  const sparse_plan<C>& p = m.plan;
  parallel_for(stream, p.groups, [&](index g, worker&) {
    int bins[phase::select_bins];
    router.plan_group(scalar_block{}, detail::cells_of<Router>(m, g, bins));
  });
  if constexpr (Router::k >= 1)
    detail::over_row_tiles(stream, p, [&]<class Row>(index, index, index first, index end, const Row&) {
      for (index t = first; t < end; ++t) {
        if (p.bad[t]) continue;
        const auto chosen = chosen_by(router, detail::load_row<Row>(m.affinity, t, p.experts), t);
        for (int j = 0; j < p.k; ++j) m.place.wish[t * p.k + j] = chosen.expert[j];
      }
    });
}

/// Adds the tile shares of the statistics and counts wishes and places.
template <class Router, class Capacity, class C>
void route_statistics(route_memory<C>& m) {
  const sparse_plan<C>& p = m.plan;
  const int E = p.experts;
  const detail::row_tiles tiles(p);
  routing_stats& s = m.stats;
  s.experts = E, s.units = p.tokens;
  s.mixture = Router::k == every_expert;
  s.entropy = s.margin = 0;
  s.choices = s.placed = s.moved = s.overflow = 0;
  for (int e = 0; e < E; ++e) s.gate_mass[e] = 0, s.wished[e] = 0, s.served[e] = 0;
  for (index tile = 0; tile < tiles.count(); ++tile) {
    const double* x = m.tile_stats + tile * (E + 2);
    for (int e = 0; e < E; ++e) s.gate_mass[e] += x[e];
    s.entropy += x[E], s.margin += x[E + 1];
  }
  index finite = 0;
  for (int t = 0; t < p.tokens; ++t) finite += !p.bad[t];
  s.bad_rows = p.tokens - finite;
  *p.bad_count = static_cast<int>(s.bad_rows);
  if (finite) s.entropy /= static_cast<double>(finite), s.margin /= static_cast<double>(finite);
  if constexpr (Router::k == every_expert) {
    s.choices = s.placed = finite * E;
    for (int e = 0; e < E; ++e) s.wished[e] = s.served[e] = finite;
  } else if constexpr (Router::k == picked_by_experts) {
    for (int e = 0; e < E; ++e) {
      for (int g = 0; g < p.groups; ++g) s.served[e] += p.count[e * p.groups + g];
      s.wished[e] = s.served[e], s.placed += s.served[e];
    }
    // Without a limit every wish is served.
    if ((picks_positive<Router> && Capacity::limited) || m.threshold) {
      for (int e = 0; e < E; ++e) s.wished[e] = 0;
      for (index t = 0; t < p.tokens; ++t)
        for (int e = 0; e < E && !p.bad[t]; ++e)
          s.wished[e] += is_above(selection_scores<Router>(m), t, e, m.threshold);
    }
    for (int e = 0; e < E; ++e) s.choices += s.wished[e];
    s.unpicked = s.most_experts = 0;
    s.least_experts = finite ? E : 0;
    for (int t = 0; t < p.tokens; ++t) {
      if (p.bad[t]) continue;
      const int n = p.choices(t);
      s.unpicked += n == 0;
      s.least_experts = std::min(s.least_experts, n), s.most_experts = std::max(s.most_experts, n);
    }
  } else {
    for (index c = 0; c < index{p.tokens} * p.k; ++c) {
      const int wish = m.place.wish[c], served = p.expert_of[c];
      if (wish < 0) continue;
      ++s.choices, ++s.wished[wish];
      if (m.place.position[c] >= 0)
        ++s.placed, ++s.served[served], s.moved += served != wish;
      else
        s.overflow += served >= 0;
    }
  }
}

namespace detail {
/// The scores of unit t's choices and whether each is served.
template <int K, class C>
chosen_scores<K, C> chosen_of(const route_memory<C>& m, const view<C>& scores, index t, int k) {
  chosen_scores<K, C> c;
  c.n = k;
  for (int j = 0; j < k; ++j) {
    const int e = m.plan.expert_of[t * k + j], wish = m.place.wish[t * k + j];
    c.kept[j] = e >= 0;
    c.score[j] = e >= 0 ? scores.get(t, e) : (wish >= 0 ? scores.get(t, wish) : C(0));
  }
  return c;
}
/// The same for a unit whose experts picked it; K bounds their number.
template <int K, class C>
chosen_scores<K, C> picks_of(const sparse_plan<C>& p, const view<C>& scores, index t) {
  chosen_scores<K, C> c;
  c.n = p.choices(static_cast<int>(t));
  for_each_pick(p, t, [&](int j, int, int e) { c.kept[j] = true, c.score[j] = scores.get(t, e); });
  return c;
}
}  // namespace detail

/// Weights of the slots from the scores of the served choices.
template <class Router, class Combine, class C, class Stream>
void route_weights(const Stream& stream, const Combine& combine, route_memory<C>& m) {
  const sparse_plan<C>& p = m.plan;
  const view<C>& scores = gate_scores<Router>(m);
  parallel_rows(stream, p.tokens, 256, [&](index first, index n, worker&) {
    for (index t = first; t < first + n; ++t) {
      if (p.skip.ptr[0]) p.skip.set(0, t, rest_to_unit<Combine> && !p.bad[t] ? C(1) : C(0));
      if constexpr (Router::k == every_expert) {
        detail::with_tier<C>(p.experts, [&]<class Tier>(Tier) {
          chosen_scores<Tier::value, C> c;
          C weight[Tier::value];
          c.n = p.experts;
          for (int e = 0; e < c.n; ++e) c.score[e] = scores.get(t, e), c.kept[e] = true;
          combine.weigh(c, weight);
          for (int e = 0; e < c.n; ++e) p.gate.set(0, index{e} * p.tokens + t, p.bad[t] ? C(0) : weight[e]);
          if (rest_to_unit<Combine> && !p.bad[t]) p.skip.set(0, t, rest_of(c, weight));
        });
      } else if constexpr (Router::k == picked_by_experts) {
        if (p.choices(static_cast<int>(t)) == 0) continue;
        detail::with_tier<C>(p.experts, [&]<class Tier>(Tier) {
          const auto c = detail::picks_of<Tier::value>(p, scores, t);
          C weight[Tier::value];
          combine.weigh(c, weight);
          for_each_pick(p, t, [&](int j, int slot, int) { p.gate.set(0, slot, weight[j]); });
          if (rest_to_unit<Combine>) p.skip.set(0, t, rest_of(c, weight));
        });
      } else {
        constexpr int K = Router::k;
        if (p.bad[t]) continue;
        const auto c = detail::chosen_of<K>(m, scores, t, K);
        C weight[K];
        combine.weigh(c, weight);
        C overflow(0);
        for (int j = 0; j < K; ++j) {
          if (!c.kept[j]) continue;
          if (m.place.position[t * K + j] >= 0)
            p.gate.set(0, p.slot_of[t * K + j], weight[j]);
          else
            overflow += weight[j];
        }
        // Overflow goes to the fallback expert where there is one, else to the unit.
        if (p.skip.ptr[0]) {
          const C rest = rest_to_unit<Combine> ? rest_of(c, weight) : C(0);
          p.skip.set(0, t, p.fallback_slot ? rest : rest + overflow);
        }
        if (p.fallback_slot && p.fallback_slot[t] >= 0) p.gate.set(0, p.fallback_slot[t], overflow);
      }
    }
  });
}

namespace detail {
/// The row of unit t as the forward left it: nothing is drawn or scored again.
template <class Router, class Row, class C>
routed_row<Row, choices_of<Router>> reload_row(const Router& router, const route_memory<C>& m, const Row& logits,
                                               const Row& raw, index t) {
  const Row noisy = m.noisy.ptr[0] ? load_row<Row>(m.noisy, t, logits.n) : logits;
  const int* wish = nullptr;
  if constexpr (Router::k >= 1) wish = m.place.wish + t * Router::k;
  return reloaded_row(router, m.route, logits, raw, noisy, load_row<Row>(m.scores, t, logits.n), wish);
}
}  // namespace detail

namespace detail {
/// d_scores of unit t from the gradients of its gates: back through the combine rule, onto
/// the experts that really served.
template <class Router, class Row, class Combine, class C>
void add_gate_gradients(const Combine& combine, const route_memory<C>& m, const view<C>& scores, index t,
                        Row& d_scores) {
  const sparse_plan<C>& p = m.plan;
  if constexpr (Router::k == every_expert) {
    chosen_scores<Row::tier, C> c;
    C d_weight[Row::tier], d_score[Row::tier];
    c.n = p.experts;
    for (int e = 0; e < p.experts; ++e) {
      c.score[e] = scores.get(t, e), c.kept[e] = true;
      d_weight[e] = m.d_gate.get(0, index{e} * p.tokens + t);
    }
    if constexpr (rest_to_unit<Combine>) rest_vjp(c, m.d_skip.get(0, t), d_weight);
    combine.vjp(c, d_weight, d_score);
    for (int e = 0; e < p.experts; ++e) d_scores.v[e] += d_score[e];
  } else if constexpr (Router::k == picked_by_experts) {
    if (p.choices(static_cast<int>(t)) == 0) return;
    const auto c = picks_of<Row::tier>(p, scores, t);
    C d_weight[Row::tier], d_score[Row::tier];
    for_each_pick(p, t, [&](int j, int slot, int) { d_weight[j] = m.d_gate.get(0, slot); });
    if constexpr (rest_to_unit<Combine>) rest_vjp(c, m.d_skip.get(0, t), d_weight);
    combine.vjp(c, d_weight, d_score);
    for_each_pick(p, t, [&](int j, int, int e) { d_scores.v[e] += d_score[j]; });
  } else {
    constexpr int K = Router::k;
    const auto c = chosen_of<K>(m, scores, t, K);
    C d_weight[K], d_score[K];
    for (int j = 0; j < K; ++j) {
      d_weight[j] = C(0);
      if (!c.kept[j]) continue;
      if (m.place.position[t * K + j] >= 0) d_weight[j] = m.d_gate.get(0, p.slot_of[t * K + j]);
      else if (p.fallback_slot) d_weight[j] = m.d_gate.get(0, p.fallback_slot[t]);
      else if (p.skip.ptr[0]) d_weight[j] = m.d_skip.get(0, t);
    }
    if constexpr (rest_to_unit<Combine>) rest_vjp(c, m.d_skip.get(0, t), d_weight);
    combine.vjp(c, d_weight, d_score);
    for (int j = 0; j < K; ++j) {
      const int e = p.expert_of[t * K + j] >= 0 ? p.expert_of[t * K + j] : m.place.wish[t * K + j];
      d_scores.add_at(e, d_score[j]);
    }
  }
}
}  // namespace detail

/// For routers whose gates are made of a group plan: from gate gradients to gradients of the scaled logits, in
/// m.d_affinity.
template <class Router, class Combine, class C, class Stream>
void plan_all_groups_backward(const Stream& stream, const Router& router, const Combine& combine,
                              const route_memory<C>& m) {
  detail::over_row_tiles(stream, m.plan, [&]<class Row>(index, index, index first, index end, const Row& zero) {
    for (index t = first; t < end; ++t) {
      Row d = zero;
      if (!m.plan.bad[t]) detail::add_gate_gradients<Router>(combine, m, m.affinity, t, d);
      detail::store_row(d, m.d_affinity, t);
    }
  });
  parallel_for(stream, m.plan.groups, [&](index g, worker&) {
    int bins[phase::select_bins];
    router.plan_group_vjp(scalar_block{}, detail::cells_of<Router>(m, g, bins));
  });
}

/// Gradients of logits (and of the second projection) from gate gradients and balance losses, row by row.
/// d_logits and d_raw are [T, E]; rows of units that are not finite become zero.
template <class Router, class Balance, class Combine, class C, class Stream>
void route_rows_backward(const Stream& stream, const Router& router, const Balance& balance, const Combine& combine,
                         const route_memory<C>& m, view<C> d_logits, view<C> d_raw) {
  const sparse_plan<C>& p = m.plan;
  const int E = p.experts;
  detail::over_row_tiles(stream, p, [&]<class Row>(index, index group, index first, index end, const Row& zero) {
    constexpr int columns = Balance::columns;
    Row cot[columns > 0 ? columns : 1];
    for (int c = 0; c < columns; ++c) {
      cot[c] = zero;
      if (m.balanced)
        for (int e = 0; e < E; ++e) cot[c].v[e] = m.cotangents.get(group, index{c} * E + e);
    }
    for (index t = first; t < end; ++t) {
      if (p.bad[t]) {
        detail::store_row(zero, d_logits, t);
        if (d_raw.ptr[0]) detail::store_row(zero, d_raw, t);
        continue;
      }
      const Row logits = detail::load_row<Row>(m.logits, t, E);
      const Row raw = m.raw.ptr[0] ? detail::load_row<Row>(m.raw, t, E) : logits;
      const auto r = detail::reload_row(router, m, logits, raw, t);
      row_grad<Row> g{zero, zero, zero, zero, zero};
      if constexpr (weighs_plan<Router>)
        g.noisy.add_scaled(C(m.route.inverse_temperature), detail::load_row<Row>(m.d_affinity, t, E));
      else
        detail::add_gate_gradients<Router>(combine, m, m.scores, t, g.scores);
      const auto d =
          routed_row_vjp(router, balance, m.route, r, logits, raw, cot, m.balanced, g, t, m.target ? m.target[t] : -1);
      detail::store_row(d.logits, d_logits, t);
      if (d_raw.ptr[0]) detail::store_row(d.raw, d_raw, t);
    }
  });
}

}  // namespace polymoe
