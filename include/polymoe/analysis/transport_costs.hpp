// transport_costs: what the plans of score::sparse_transport cost, as a layer made them and as every solver makes them
// of the same scores   (Liu, Puigcerver and Blondel 2023, arXiv 2209.15466; paper C, arXiv 2401.15969).
//
// With the cost C = -S of a group of n finite units, gamma and at most k non-zeros in a line,
//
//   primal   <C, P> + (gamma / 2) |P|^2                                       of a plan P
//   dual     a sum alpha - sum over lines of the most that <p, x> - (gamma / 2) |p|^2 comes to, x = alpha - C,
//            p >= 0 with the line's sum and k non-zeros                       of potentials alpha
//
// (-J of transport/lines.hpp).  A plan with both sums costs at least what any potentials are worth, so the gap, primal
// less dual, bounds how far such a plan is from the best.  A plan that a solver has stopped short of both sums may cost
// less than that: its gap says nothing without the errors of its sums.
//
// All sums are made in double and from the numbers that a call left; nothing of this is in a call.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../router/top_k.hpp"
#include "../score/sparse_transport.hpp"

namespace polymoe::inline v0 {
namespace analysis {

struct transport_costs {
  index groups = 0;         ///< that have a finite unit
  index units = 0;          ///< finite ones
  index steps = 0;          ///< of the solver, summed over the groups
  index nonzeros = 0;       ///< most in a line
  double transport = 0;     ///< <C, P>, summed over the groups like the next two
  double penalty = 0;       ///< (gamma / 2) |P|^2
  double dual = 0;          ///< of the potentials that the solver left
  double unit_error = 0;    ///< largest difference of a unit's sum from 1
  double expert_error = 0;  ///< largest difference of an expert's sum from n / E, as a share of it

  double primal() const { return transport + penalty; }
  double gap() const { return primal() - dual; }
  double per_unit(double sum) const { return units > 0 ? sum / static_cast<double>(units) : 0.0; }
  double steps_of_group() const { return groups > 0 ? static_cast<double>(steps) / static_cast<double>(groups) : 0.0; }
  void add(const transport_costs& o) {
    groups += o.groups, units += o.units, steps += o.steps, nonzeros = std::max(nonzeros, o.nonzeros);
    transport += o.transport, penalty += o.penalty, dual += o.dual;
    unit_error = std::max(unit_error, o.unit_error), expert_error = std::max(expert_error, o.expert_error);
  }
};
/// The costs of one solver's plans; `solver` is its name.
struct solver_costs {
  const char* solver = "";
  transport_costs costs;
};

/// Routers whose plans are those of score::sparse_transport.
template <class Router>
concept makes_transport_plans = plans_groups<Router> && requires(const Router& r) {
  Router::solver_name;
  r.gamma, r.nonzeros;
};

namespace detail {

/// The most that <p, x> - (gamma / 2) |p|^2 comes to for p >= 0 of sum `sum` with `k` non-zeros.  Reorders x.
inline double best_of_line(std::vector<double>& x, std::size_t k, double sum, double gamma) {
  k = std::min(k, x.size());
  std::partial_sort(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(k), x.end(), std::greater<>());
  // The longest run of largest values that are all above their common threshold.
  double held = 0, threshold = 0;
  for (std::size_t i = 0; i < k; ++i) {
    held += x[i];
    const double at = (held - gamma * sum) / static_cast<double>(i + 1);
    if (i > 0 && x[i] <= at) break;
    threshold = at;
  }
  double value = 0;
  for (std::size_t i = 0; i < k && x[i] > threshold; ++i) {
    const double p = (x[i] - threshold) / gamma;
    value += p * x[i] - gamma / 2 * p * p;
  }
  return value;
}

/// Of one group; `potentials` [1, at least n or E] as a solver leaves them, `k` as sparse_transport::nonzeros resolved.
template <class C>
transport_costs costs_of_group(view<C> scores, view<C> plan, view<C> potentials, const unsigned char* bad, bool columns,
                               index k, double gamma, int steps) {
  const index n = scores.rows, E = scores.cols;
  const auto number = [](const view<C>& v, index r, index c) { return static_cast<double>(value_of(v.get(r, c))); };
  transport_costs r;
  for (index t = 0; t < n; ++t) r.units += !bad[t];
  if (r.units == 0) return r;
  r.groups = 1, r.steps = steps;
  const double share = static_cast<double>(r.units) / static_cast<double>(E);
  std::vector<double> of_expert(static_cast<std::size_t>(E), 0.0), x;
  std::vector<index> held(static_cast<std::size_t>(columns ? E : n), 0);
  for (index t = 0; t < n; ++t) {
    if (bad[t]) continue;
    double of_unit = 0;
    for (index e = 0; e < E; ++e) {
      const double p = number(plan, t, e);
      of_unit += p, of_expert[static_cast<std::size_t>(e)] += p;
      held[static_cast<std::size_t>(columns ? e : t)] += p > 0;
      r.transport -= p * number(scores, t, e), r.penalty += gamma / 2 * p * p;
    }
    r.unit_error = std::max(r.unit_error, std::abs(of_unit - 1));
  }
  for (const double p : of_expert) r.expert_error = std::max(r.expert_error, std::abs(p / share - 1));
  r.nonzeros = *std::max_element(held.begin(), held.end());

  const index lines = columns ? E : n, length = columns ? n : E;
  const auto absent = [&](index line, index i) { return bad[columns ? i : line] != 0; };
  for (index i = 0; i < length; ++i)
    if (!columns || !bad[i]) r.dual += (columns ? 1 : share) * number(potentials, 0, i);
  for (index line = 0; line < lines; ++line) {
    x.clear();
    for (index i = 0; i < length; ++i)
      if (!absent(line, i))
        x.push_back(number(potentials, 0, i) + (columns ? number(scores, i, line) : number(scores, line, i)));
    if (!x.empty()) r.dual -= best_of_line(x, static_cast<std::size_t>(k), columns ? share : 1, gamma);
  }
  return r;
}

/// The non-zeros that sparse_transport::nonzeros asks of a line.
template <class C>
index nonzeros_of(index nonzeros, const plan_record<C>& r) {
  return nonzeros < 0 ? std::max(r.group_size, r.experts()) : nonzeros > 0 ? nonzeros : r.limit;
}
/// f(group, first unit, units) for every group of a call.
template <class C, class F>
void each_group(const plan_record<C>& r, F f) {
  for (index g = 0; g < r.groups; ++g) {
    const index first = g * r.group_size;
    f(g, first, std::min(r.group_size, r.units() - first));
  }
}

}  // namespace detail

/// What the plans of a call cost: costs_of(routing.settings().router, routing.plans(ctx, saved)).
template <class Score, class C>
transport_costs costs_of(const Score& score, const plan_record<C>& r) {
  transport_costs all;
  detail::each_group(r, [&](index g, index first, index n) {
    all.add(detail::costs_of_group(r.scores.rows_at(first, n), r.plan.rows_at(first, n), r.kept.rows_at(g, 1),
                                   r.bad + first, r.picked, detail::nonzeros_of(score.nonzeros, r),
                                   static_cast<double>(score.gamma), r.steps[g]));
  });
  return all;
}

/// What a score's plans of the same scores cost, made here in double, from prices of 0.
template <class Score, class C>
transport_costs costs_by(const Score& score, const plan_record<C>& r) {
  transport_costs all;
  detail::each_group(r, [&](index, index first, index n) {
    const index E = r.experts(), kept = score.kept(n, E);
    std::vector<double> memory(static_cast<std::size_t>(2 * n * E + kept), 0.0);
    int steps = 0, bins[phase::select_bins];
    group_cells<double> a;
    a.scores = a.logits = view<double>(memory.data(), n, E);
    a.plan = view<double>(memory.data() + n * E, n, E);
    a.kept = view<double>(memory.data() + 2 * n * E, 1, kept);
    a.picked = r.picked, a.limit = r.limit, a.bad = r.bad + first, a.steps = &steps, a.bins = bins;
    for (index t = 0; t < n; ++t)
      for (index e = 0; e < E; ++e) a.scores.set(t, e, static_cast<double>(value_of(r.scores.get(first + t, e))));
    score.plan_group(scalar_block{}, a);
    all.add(detail::costs_of_group(a.scores, a.plan, a.kept, a.bad, r.picked, detail::nonzeros_of(score.nonzeros, r),
                                   static_cast<double>(score.gamma), steps));
  });
  return all;
}

/// The same for the published iterations, L-BFGS and Newton, each with its default steps and with the gamma and the
/// limit of `own`.
template <class Score, class C>
std::vector<solver_costs> compare_solvers(const Score& own, const plan_record<C>& r) {
  const auto by = [&](auto other) {
    other.gamma = own.gamma, other.nonzeros = own.nonzeros;
    return solver_costs{decltype(other)::solver_name, costs_by(other, r)};
  };
  return {by(score::sparse_transport<score::solver::adam>{}), by(score::sparse_transport<score::solver::lbfgs>{}),
          by(score::sparse_transport<score::solver::newton>{})};
}

}  // namespace analysis
}  // namespace polymoe
