// score::sparse_transport<Inner>: affinities from optimal transport with few non-zeros   (paper C, router 5; Liu,
// Puigcerver and Blondel 2023).
//
//   P = argmax <P, S> - (gamma / 2) |P|^2,  P >= 0, every unit gives 1, every expert gets n / E, S the inner score
//
// over the n finite units of a group, with at most `nonzeros` non-zeros in a column where experts pick, in a row where
// units choose.  Solved on the semi-dual by Adam: one number alpha for each unit (where units choose: each expert),
// every column (row) x = alpha + S projected on the sparse simplex,
//
//   p = projection of x / (gamma b) on {p >= 0, sum p = 1, at most k non-zeros},  P = b p,  d alpha = sum of P - a
//
// so the columns (rows) are exact and the other sums are right when it has converged; twenty steps, as in V-MoE's code,
// leave them far from it.  Selections compare P.  Gates are the inner score and no gradient flows through P.
//
// Use: expert_choice<score::sparse_transport<>> (Sparsity-constrained Expert Choice), top_k<K,
// score::sparse_transport<>>.
#pragma once

#include "../core/block.hpp"
#include "../core/error.hpp"
#include "../router/group_plan.hpp"
#include "../router/order_key.hpp"
#include "softmax.hpp"

namespace polymoe::inline v0::score {

template <class Inner = softmax>
struct sparse_transport : Inner {
  static constexpr const char* name = "sparse_transport";
  using group_plan = void;
  static constexpr bool weighs_plan = false;
  static constexpr index everything = -1;

  int iterations = 20;
  float learning_rate = 1e-2f;
  float gamma = 1;
  index nonzeros = 0;  ///< k; 0: the capacity C, or K; everything: no limit, the quadratically regularised plan

  static constexpr int most_iterations = 100000;
  void validate() const {
    require(iterations >= 0 && iterations <= most_iterations, "sparse_transport: iterations is ", iterations,
            ", it must lie in [0, ", most_iterations, "]");
    require(learning_rate > 0, "sparse_transport: learning_rate is ", learning_rate, ", it must be positive");
    require(gamma > 0, "sparse_transport: gamma is ", gamma, ", it must be positive");
    require(nonzeros >= everything, "sparse_transport: nonzeros is ", nonzeros, ", it must not be below ", everything);
  }
  /// alpha and Adam's two moments.
  index kept(index units, index experts) const { return 3 * (units > experts ? units : experts); }

  template <class Block, class Cells>
  POLYMOE_HD void plan_group(const Block& b, const Cells& a) const {
    using S = std::remove_cvref_t<decltype(a.scaled(0, 0))>;
    using R = decltype(value_of(S(0)));
    const index n = a.units(), E = a.experts();
    const bool columns = a.picked;
    const index lines = columns ? E : n, length = columns ? n : E;
    int present = 0;
    for (index t = b.rank(); t < n; t += b.width()) present += !a.bad[t];
    present = b.sum(present);
    const R share = present > 0 ? R(present) / R(E) : R(1);
    const R line_sum = columns ? share : R(1), wanted = columns ? R(1) : share;
    const index k = nonzeros == everything ? length : nonzeros > 0 ? nonzeros : a.limit;

    const index most = n > E ? n : E;
    const auto number = [&](int row, index i) { return value_of(a.kept.get(0, row * most + i)); };
    const auto put = [&](int row, index i, R x) { a.kept.set(0, row * most + i, S(x)); };
    enum { alpha, first, second, rows };
    phase::each(b, most, [&](index i) {
      for (int row = 0; row < rows; ++row) put(row, i, R(0));
    });

    R decay1(1), decay2(1);
    for (int step = 0;; ++step) {
      for (index line = 0; line < lines; ++line) {
        const auto unit = [&](index i) { return columns ? i : line; };
        const auto expert = [&](index i) { return columns ? line : i; };
        const auto x = [&](index i) { return number(alpha, i) + value_of(a.scores.get(unit(i), expert(i))); };
        project(b, a, length, k, line_sum, unit, expert, x);
      }
      if (step == iterations || present == 0) break;
      decay1 *= R(0.9f), decay2 *= R(0.999f);
      phase::each(b, length, [&](index i) {
        if (columns && a.bad[i]) return;
        R sum(0);
        for (index line = 0; line < lines; ++line) sum += value_of(columns ? a.plan.get(i, line) : a.plan.get(line, i));
        const R d = sum - wanted;
        put(first, i, R(0.9f) * number(first, i) + (R(1) - R(0.9f)) * d);
        put(second, i, R(0.999f) * number(second, i) + (R(1) - R(0.999f)) * d * d);
        const R mean = number(first, i) / (R(1) - decay1), square = number(second, i) / (R(1) - decay2);
        put(alpha, i, number(alpha, i) - R(learning_rate) * mean / (math::sqrt(square) + R(1e-8f)));
      });
    }
    if (b.rank() == 0) *a.steps = iterations;
  }

 private:
  /// One line of the plan: line_sum times the projection of x / (gamma line_sum) on the simplex with k non-zeros.
  template <class Block, class Cells, class Unit, class Expert, class X>
  POLYMOE_HD void project(const Block& b, const Cells& a, index length, index k,
                          decltype(value_of(std::declval<Cells>().scaled(0, 0))) line_sum, Unit unit, Expert expert,
                          X x) const {
    using S = std::remove_cvref_t<decltype(a.scaled(0, 0))>;
    using R = decltype(value_of(S(0)));
    using U = decltype(descending_key(R(0)));
    const R scale = R(1) / (R(gamma) * line_sum);
    phase::each(b, length, [&](index i) { a.plan.set(unit(i), expert(i), S(-1)); });
    // The k largest are marked by a value that is not negative.
    phase::select_first(
        b, static_cast<int>(length), static_cast<int>(k < length ? k : length), a.bins,
        [&](int i) { return a.bad[unit(i)] ? ~U(0) : descending_key(x(i)); },
        [&](int i, int) { a.plan.set(unit(i), expert(i), S(0)); });
    b.sync();
    const auto marked = [&](index i) { return value_of(a.plan.get(unit(i), expert(i))) >= 0; };
    // The threshold: the mean excess of those above it; every pass takes away what fell below, until nothing does.
    R threshold(-__builtin_inff());
    for (int held = -1;;) {
      const int above = static_cast<int>(
          phase::sum<int>(b, length, [&](index i) { return marked(i) && x(i) * scale > threshold ? 1 : 0; }));
      if (above == held || above == 0) break;
      const R sum = phase::sum<R>(b, length,
                                  [&](index i) { return marked(i) && x(i) * scale > threshold ? x(i) * scale : R(0); });
      threshold = (sum - R(1)) / R(above);
      held = above;
    }
    phase::each(b, length, [&](index i) {
      const R over = marked(i) ? x(i) * scale - threshold : R(0);
      a.plan.set(unit(i), expert(i), S(over > 0 ? line_sum * over : R(0)));
    });
  }
};

}  // namespace polymoe::score
