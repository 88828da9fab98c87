// score::sinkhorn<Weights, Inner>: affinities that give every unit and every expert of a group the same total.
//
//   P = argmin <P, -A> - H(P)  with  P 1 = 1  and  P^T 1 = (n / E) 1        (paper C, routers 2 and 4; Clark 2022)
//
// over the n finite units of a group, A their scaled logits.  P_te = exp(A_te + f_t + g_e); the potentials f and g are
// found by alternate scaling in the log domain: first the rows, then `iterations` times the columns and the rows.  The
// rows therefore always sum to 1; no iterations give the row softmax.  Selections compare P.
//
//   by_score (default)  gates are the inner score, softmax(A); P carries no gradient       (paper C, V-MoE's code)
//   by_plan             gates are P; the gradient goes through every iteration that was made (figure 3 of paper C)
//
// Use: top_k<K, score::sinkhorn<>> (Sinkhorn Token Choice), expert_choice<score::sinkhorn<>> (Sinkhorn Expert Choice),
// score::noisy_constant<score::sinkhorn<>>.  Balance losses see the inner score.
#pragma once

#include "../core/block.hpp"
#include "../core/error.hpp"
#include "../router/group_plan.hpp"
#include "softmax.hpp"

namespace polymoe::inline v0::score {

struct by_score {
  static constexpr bool weighs_plan = false;
};
struct by_plan {
  static constexpr bool weighs_plan = true;
};

template <class Weights = by_score, class Inner = softmax>
struct sinkhorn : Inner {
  static constexpr const char* name = Weights::weighs_plan ? "sinkhorn<by_plan>" : "sinkhorn";
  using group_plan = void;
  static constexpr bool weighs_plan = Weights::weighs_plan;

  int iterations = 20;  ///< at most; 0 gives the row softmax
  float tolerance = 0;  ///< > 0: stop when no column sum differs by more than this share from n / E

  static constexpr int most_iterations = 1000;
  void validate() const {
    require(iterations >= 0 && iterations <= most_iterations, "sinkhorn: iterations is ", iterations,
            ", it must lie in [0, ", most_iterations, "]");
    require(tolerance >= 0, "sinkhorn: tolerance is ", tolerance, ", it must not be negative");
  }

  /// Potentials of every iteration for the backward; beside them a row for the units, two for the experts, and the sums
  /// of every piece.
  index kept(index units, index experts) const {
    return (weighs_plan ? iterations + 1 : 1) * (units + experts) + units + 2 * experts +
           2 * ceil_div(units, piece_units) * experts;
  }

  template <class Block, class Cells>
  POLYMOE_HD void plan_group(const Block& b, const Cells& a) const {
    using S = decltype(a.scaled(0, 0));
    const index n = a.units(), E = a.experts();
    const potentials<Cells> at{a, n, E};
    const index present = finite_units(b, a);
    const S share = S(static_cast<float>(present)) / S(static_cast<float>(E));

    phase::each(b, E, [&](index e) { at.set_g(0, e, S(0)); });
    scale_rows(b, at, 0);
    int done = 0;
    for (int i = 1; i <= iterations && present > 0; ++i) {
      const int from = weighs_plan ? i - 1 : 0, to = weighs_plan ? i : 0;
      const bool checked = tolerance > 0;
      phase::short_lines(b, E, [&](const auto& team, index e) {
        const S sum = column_sum(team, at, e);
        if (team.rank() != 0) return;
        at.set_column(0, e, sum);
        if (!checked) at.set_g(to, e, math::log(share) - sum);
      });
      if (checked) {
        // A column's sum now, over what it should be.
        const auto off = phase::max<decltype(value_of(S(0)))>(b, E, [&](index e) {
          const auto r = value_of(math::exp(at.column(0, e) + at.g(from, e)) / share) - 1;
          return r < 0 ? -r : r;
        });
        if (off <= tolerance) break;
        phase::each(b, E, [&](index e) { at.set_g(to, e, math::log(share) - at.column(0, e)); });
      }
      scale_rows(b, at, to);
      done = to;
    }
    if (b.rank() == 0) *a.steps = done;
    phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
      at.each_unit(piece, [&](index t) {
        for (index e = team.rank(); e < E; e += team.width())
          a.plan.set(t, e, a.bad[t] ? S(0) : math::exp(a.scaled(t, e) + at.f(done, t) + at.g(done, e)));
      });
    });
  }

  /// Back through the iterations that were made: the exact gradient of what was computed, converged or not.
  template <class Block, class Cells>
  POLYMOE_HD void plan_group_vjp(const Block& b, const Cells& a) const {
    using S = decltype(a.scaled(0, 0));
    const index n = a.units(), E = a.experts();
    const potentials<Cells> at{a, n, E};
    const S share = S(static_cast<float>(finite_units(b, a))) / S(static_cast<float>(E));
    const int steps = *a.steps;
    // First the exponents of P; the gradients of f and g begin as their row and column sums.
    phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
      phase::each(team, at.units_of(piece), [&](index i) {
        const index t = piece * piece_units + i;
        S sum(0);
        for (index e = 0; e < E; ++e) {
          const S d = a.bad[t] ? S(0) : a.d_plan.get(t, e) * a.plan.get(t, e);
          a.d_plan.set(t, e, d);
          sum += d;
        }
        at.set_unit(t, sum);
      });
      phase::ranges(team, E, [&](index first, index count) {
        for (index e = first; e < first + count; ++e) at.set_partial(piece, 0, e, S(0));
        at.each_unit(piece, [&](index t) {
          for (index e = first; e < first + count; ++e)
            at.set_partial(piece, 0, e, at.partial(piece, 0, e) + a.d_plan.get(t, e));
        });
      });
      rows_back(team, at, steps, piece);
    });
    for (int i = steps; i > 0; --i) {
      sum_pieces(b, at);
      // g_e = log(n / E) - log sum_t exp(A + f_t): exp(A + f + g) E / n of its column.
      phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
        phase::each(team, at.units_of(piece), [&](index in_piece) {
          const index t = piece * piece_units + in_piece;
          S sum(0);
          if (!a.bad[t])
            for (index e = 0; e < E; ++e) {
              const S d = at.column(0, e) * math::exp(a.scaled(t, e) + at.f(i - 1, t) + at.g(i, e)) / share;
              a.d_plan.set(t, e, a.d_plan.get(t, e) - d);
              sum += d;
            }
          at.set_unit(t, -sum);
        });
        phase::each(team, E, [&](index e) { at.set_partial(piece, 0, e, S(0)); });
        rows_back(team, at, i - 1, piece);
      });
    }
  }

 private:
  /// Units of a piece: columns are summed inside pieces, then over them, so that many threads can share a column.  A
  /// piece is one team's from its rows to its columns, which spares a barrier of the whole group.
  static constexpr index piece_units = 32;

  /// Where the numbers of cells.kept lie: f and g of every iteration that is kept, then one row of n and two of E, in
  /// which the columns find their sums and the way back its gradients of f and g, then two rows of E for every piece.
  template <class Cells>
  struct potentials {
    using S = std::remove_cvref_t<decltype(std::declval<Cells>().scaled(0, 0))>;
    const Cells& a;
    index n, E;
    POLYMOE_HD index pieces() const { return ceil_div(n, piece_units); }
    POLYMOE_HD index units_of(index piece) const {
      const index left = n - piece * piece_units;
      return left < piece_units ? left : piece_units;
    }
    /// visit(t) for the units of a piece, one after the other.
    template <class F>
    POLYMOE_HD void each_unit(index piece, F visit) const {
      for (index i = 0; i < units_of(piece); ++i) visit(piece * piece_units + i);
    }
    POLYMOE_HD S f(int i, index t) const { return a.kept.get(0, i * (n + E) + t); }
    POLYMOE_HD void set_f(int i, index t, S x) const { a.kept.set(0, i * (n + E) + t, x); }
    POLYMOE_HD S g(int i, index e) const { return a.kept.get(0, i * (n + E) + n + e); }
    POLYMOE_HD void set_g(int i, index e, S x) const { a.kept.set(0, i * (n + E) + n + e, x); }
    POLYMOE_HD index sums() const { return a.kept.cols - 2 * pieces() * E; }
    POLYMOE_HD index work() const { return sums() - n - 2 * E; }
    POLYMOE_HD S unit(index t) const { return a.kept.get(0, work() + t); }
    POLYMOE_HD void set_unit(index t, S x) const { a.kept.set(0, work() + t, x); }
    POLYMOE_HD S column(int row, index e) const { return a.kept.get(0, work() + n + row * E + e); }
    POLYMOE_HD void set_column(int row, index e, S x) const { a.kept.set(0, work() + n + row * E + e, x); }
    POLYMOE_HD S partial(index piece, int row, index e) const {
      return a.kept.get(0, sums() + (2 * piece + row) * E + e);
    }
    POLYMOE_HD void set_partial(index piece, int row, index e, S x) const {
      a.kept.set(0, sums() + (2 * piece + row) * E + e, x);
    }
  };

  template <class Block, class Cells>
  POLYMOE_HD static int finite_units(const Block& b, const Cells& a) {
    int n = 0;
    for (index t = b.rank(); t < a.units(); t += b.width()) n += !a.bad[t];
    return b.sum(n);
  }
  /// f_t = -log sum_e exp(A_te + g_e); then of every piece and column the largest exponent A_te + f_t in partial row 1
  /// and the sum of exp(A_te + f_t - largest) in row 0.  Units outermost, as they lie in memory.
  template <class Block, class Cells>
  POLYMOE_HD static void scale_rows(const Block& b, const potentials<Cells>& at, int i) {
    using S = typename potentials<Cells>::S;
    const Cells& a = at.a;
    phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
      phase::each(team, at.units_of(piece), [&](index in_piece) {
        const index t = piece * piece_units + in_piece;
        if (a.bad[t]) return;
        S most(-__builtin_inff()), sum(0);
        for (index e = 0; e < at.E; ++e)
          if (const S x = a.scaled(t, e) + at.g(i, e); x > most) most = x;
        for (index e = 0; e < at.E; ++e) sum += math::exp(a.scaled(t, e) + at.g(i, e) - most);
        at.set_f(i, t, -(most + math::log(sum)));
      });
      phase::ranges(team, at.E, [&](index first, index count) {
        for (index e = first; e < first + count; ++e)
          at.set_partial(piece, 0, e, S(0)), at.set_partial(piece, 1, e, S(-__builtin_inff()));
        at.each_unit(piece, [&](index t) {
          if (a.bad[t]) return;
          const S f = at.f(i, t);
          for (index e = first; e < first + count; ++e)
            if (const S x = a.scaled(t, e) + f; x > at.partial(piece, 1, e)) at.set_partial(piece, 1, e, x);
        });
        at.each_unit(piece, [&](index t) {
          if (a.bad[t]) return;
          const S f = at.f(i, t);
          for (index e = first; e < first + count; ++e)
            at.set_partial(piece, 0, e,
                           at.partial(piece, 0, e) + math::exp(a.scaled(t, e) + f - at.partial(piece, 1, e)));
        });
      });
    });
  }
  /// log sum_t exp(A_te + f_t), from the pieces.
  template <class Team, class Cells>
  POLYMOE_HD static auto column_sum(const Team& team, const potentials<Cells>& at, index e) {
    using S = typename potentials<Cells>::S;
    const S most = phase::max<S>(team, at.pieces(), [&](index piece) { return at.partial(piece, 1, e); });
    const S sum = phase::sum<S>(team, at.pieces(), [&](index piece) {
      // A piece without a finite unit has no largest exponent.
      const S held = at.partial(piece, 0, e);
      return value_of(held) > 0 ? held * math::exp(at.partial(piece, 1, e) - most) : S(0);
    });
    return most + math::log(sum);
  }
  /// Through f_t = -log sum_e exp(A + g_e): every cell has the share exp(A + f + g) of its row.  What the columns lose
  /// is taken from the piece's partial row 0.
  template <class Team, class Cells>
  POLYMOE_HD static void rows_back(const Team& team, const potentials<Cells>& at, int i, index piece) {
    using S = typename potentials<Cells>::S;
    const Cells& a = at.a;
    phase::ranges(team, at.E, [&](index first, index count) {
      at.each_unit(piece, [&](index t) {
        if (a.bad[t]) return;
        const S unit = at.unit(t), f = at.f(i, t);
        for (index e = first; e < first + count; ++e) {
          const S d = unit * math::exp(a.scaled(t, e) + f + at.g(i, e));
          a.d_plan.set(t, e, a.d_plan.get(t, e) - d);
          at.set_partial(piece, 0, e, at.partial(piece, 0, e) - d);
        }
      });
    });
  }
  /// The gradients of g: the sums of the pieces.
  template <class Block, class Cells>
  POLYMOE_HD static void sum_pieces(const Block& b, const potentials<Cells>& at) {
    using S = typename potentials<Cells>::S;
    phase::short_lines(b, at.E, [&](const auto& team, index e) {
      const S sum = phase::sum<S>(team, at.pieces(), [&](index piece) { return at.partial(piece, 0, e); });
      if (team.rank() == 0) at.set_column(0, e, sum);
    });
  }
};

}  // namespace polymoe::score
