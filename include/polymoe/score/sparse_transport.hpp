// score::sparse_transport<Solver, Weights, Start, Inner>: affinities from optimal transport with few non-zeros
// (paper C, router 5; Liu, Puigcerver and Blondel 2023).
//
//   P = argmax <P, S> - (gamma / 2) |P|^2,  P >= 0, every unit gives 1, every expert gets n / E, S the inner score
//
// over the n finite units of a group, with at most `nonzeros` non-zeros in a column where experts pick, in a row where
// units choose (transport/lines.hpp has the formulas).  Selections compare P.
//
//   solver::adam (default)  as published: twenty steps on the semi-dual; lines exact, the other sums far from right
//   solver::lbfgs           the same function by JAXOPT's quasi-Newton method
//   solver::newton          both sums right to `tolerance` (transport/newton.hpp)
//
//   by_score (default)      gates are the inner score; no gradient flows through P           (paper C, V-MoE's code)
//   by_plan                 gates are P; the gradient is that of the plan on the cells it uses (solver::newton only)
//
//   start::cold (default)   every call begins at prices 0
//   start::last_step        at those of the last optimiser step, the mean over its groups: one price for each expert,
//                           so that groups may change in number and size.  They are state: `price`, `price_sum`
//
// Use: expert_choice<score::sparse_transport<>> (Sparsity-constrained Expert Choice), top_k<K,
// score::sparse_transport<>>, score::sparse_transport<score::solver::newton>.
#pragma once

#include "plan_weights.hpp"
#include "softmax.hpp"
#include "transport/adam.hpp"
#include "transport/lbfgs.hpp"
#include "transport/newton.hpp"

namespace polymoe::inline v0::score {

namespace start {
struct cold {
  static constexpr bool carried = false;
};
struct last_step {
  static constexpr bool carried = true;
};
}  // namespace start

template <class Solver = solver::adam, class Weights = by_score, class Start = start::cold, class Inner = softmax>
struct sparse_transport : Inner, Solver {
  static constexpr const char* name = Weights::weighs_plan ? "sparse_transport<by_plan>" : "sparse_transport";
  using group_plan = void;
  static constexpr bool weighs_plan = Weights::weighs_plan;
  static constexpr bool weighs_clean_scores = Weights::weighs_clean;
  static constexpr bool plan_reads_logits = false;  ///< but the row scores
  static constexpr bool carries_prices = Start::carried;
  /// Whether gradients can flow where gates are made of the plan.
  static constexpr bool plan_has_gradient = Solver::differentiable && std::is_same_v<Inner, softmax>;
  static constexpr index everything = -1;

  float gamma = 1;
  index nonzeros = 0;  ///< k; 0: the capacity C, or K; everything: no limit, the quadratically regularised plan

  void validate() const {
    Solver::validate();
    require(gamma > 0, "sparse_transport: gamma is ", gamma, ", it must be positive");
    require(nonzeros >= everything, "sparse_transport: nonzeros is ", nonzeros, ", it must not be below ", everything);
  }
  index kept(index units, index experts) const { return Solver::kept(units, experts); }

  template <class Block, class Cells>
  POLYMOE_HD void plan_group(const Block& b, const Cells& a) const {
    const detail::transport_lines<Block, Cells> l(b, a, gamma, nonzeros);
    const int done = Solver::solve(l);
    if constexpr (weighs_plan && is_dual<typename decltype(l)::S>) Solver::plan_tangent(l);
    if (b.rank() == 0) *a.steps = done;
  }

  /// On the cells that the plan uses, gamma dP = dS less its row and column means; then through the softmax.
  template <class Block, class Cells>
  requires(Weights::weighs_plan) POLYMOE_HD void plan_group_vjp(const Block& b, const Cells& a) const {
    const detail::transport_lines<Block, Cells> l(b, a, gamma, nonzeros);
    using S = typename decltype(l)::S;
    Solver::plan_vjp(l);
    phase::each(b, a.units(), [&](index t) {
      S dot(0);
      for (index e = 0; e < a.experts(); ++e) dot += a.scores.get(t, e) * a.d_plan.get(t, e);
      for (index e = 0; e < a.experts(); ++e)
        a.d_plan.set(t, e, a.bad[t] ? S(0) : a.scores.get(t, e) * (a.d_plan.get(t, e) - dot));
    });
  }
};

}  // namespace polymoe::score
