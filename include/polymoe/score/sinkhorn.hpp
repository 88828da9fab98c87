// score::sinkhorn<Weights, Inner>: affinities that give every unit and every expert of a group the same total.
//
//   P = argmin <P, -A> - H(P)  with  P 1 = 1  and  P^T 1 = (n / E) 1        (paper C, routers 2 and 4; Clark 2022)
//
// over the n finite units of a group, A their scaled logits.  P_te = exp(A_te + f_t + g_e) is scaled in turns: first
// the rows, then `iterations` times the columns and the rows.  The rows therefore always sum to 1; no iterations give
// the row softmax.  Selections compare P.
//
// P itself is multiplied by the factors, which costs no exponentials, while they stay within e^20 of each other in all.
// Where they do not, cells that were too small to be held may come to matter: that iteration works on the potentials f
// and g, in the log domain, and makes P of them again.
//
//   by_score (default)  gates are the inner score, softmax(A); P carries no gradient       (paper C; V-MoE's code of
//                       Sinkhorn Expert Choice)
//   by_clean_score      the same of the logits without noise, which moves the choice alone (V-MoE's code of Sinkhorn
//                       Token Choice)
//   by_plan             gates are P; the gradient goes through every iteration that was made (figure 3 of paper C)
//
// Use: top_k<K, score::sinkhorn<>> (Sinkhorn Token Choice), expert_choice<score::sinkhorn<>> (Sinkhorn Expert Choice),
// score::noisy_constant<score::sinkhorn<>>.  Balance losses see the inner score.
#pragma once

#include "../core/block.hpp"
#include "../core/error.hpp"
#include "../router/group_plan.hpp"
#include "plan_weights.hpp"
#include "softmax.hpp"

namespace polymoe::inline v0::score {

template <class Weights = by_score, class Inner = softmax>
struct sinkhorn : Inner {
  static constexpr const char* name = Weights::weighs_plan    ? "sinkhorn<by_plan>"
                                      : Weights::weighs_clean ? "sinkhorn<by_clean_score>"
                                                              : "sinkhorn";
  using group_plan = void;
  static constexpr bool weighs_plan = Weights::weighs_plan;
  static constexpr bool weighs_clean_scores = Weights::weighs_clean;

  int iterations = 20;  ///< at most; 0 gives the row softmax
  float tolerance = 0;  ///< > 0: stop when no column sum differs by more than this share from n / E
  /// In evaluation no iterations: P is the row softmax, a unit takes its largest logits whatever its group (Megatron).
  bool greedy_evaluation = false;

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
    using R = decltype(value_of(S(0)));
    const index n = a.units(), E = a.experts();
    const potentials<Cells> at{a, n, E};
    const index present = finite_units(b, a);
    const S share = S(static_cast<float>(present)) / S(static_cast<float>(E));

    phase::each(b, E, [&](index e) { at.set_g(0, e, S(0)); });
    make_plan(b, at, 0);
    const int most = a.training || !greedy_evaluation ? iterations : 0;
    int done = 0;
    R spent(0);  // bounds the logarithm of any product of factors since P was made of potentials
    for (int i = 1; i <= most && present > 0; ++i) {
      const int from = weighs_plan ? i - 1 : 0, to = weighs_plan ? i : 0;
      // Column row 0: the factor of the column, row 1: its logarithm.
      phase::short_lines(b, E, [&](const auto& team, index e) {
        const S sum = sum_of_pieces(team, at, e), factor = share / sum;
        if (team.rank() == 0) at.set_column(0, e, factor), at.set_column(1, e, math::log(factor));
      });
      // 1 / factor is the column's sum over what it should be.
      if (tolerance > 0 && farthest(at, [&](index e) { return R(1) / value_of(at.column(0, e)) - R(1); }) <= tolerance)
        break;
      spent += farthest(at, [&](index e) { return value_of(at.column(1, e)); });
      if (spent <= R(20)) {
        // Nobody reads g before the barrier at the end of multiply().
        for (index e = b.rank(); e < E; e += b.width()) at.set_g(to, e, at.g(from, e) + at.column(1, e));
        multiply(b, at, from, to);
      } else {
        spent = R(0);
        sum_exponents(b, at, from);
        phase::short_lines(b, E, [&](const auto& team, index e) {
          const S sum = log_column_sum(team, at, e);
          if (team.rank() == 0) at.set_g(to, e, math::log(share) - sum);
        });
        make_plan(b, at, to);
      }
      done = to;
    }
    if (b.rank() == 0) *a.steps = done;
  }

  /// Back through the iterations that were made: the exact gradient of what was computed, converged or not.
  template <class Block, class Cells>
  POLYMOE_HD void plan_group_vjp(const Block& b, const Cells& a) const {
    using S = decltype(a.scaled(0, 0));
    const index n = a.units(), E = a.experts();
    const potentials<Cells> at{a, n, E};
    const S share = S(static_cast<float>(finite_units(b, a))) / S(static_cast<float>(E)), per = S(1) / share;
    const int steps = *a.steps;
    // First the exponents of P; the gradients of f and g begin as their row and column sums.
    phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
      phase::each(team, at.units_of(piece), [&](index i) {
        const index t = piece * piece_units + i;
        const bool bad = a.bad[t];
        const auto d_plan = a.d_plan.rows_at(t, 1), plan = a.plan.rows_at(t, 1);
        at.set_unit(t, along_row<S>(E, [&](index e) {
                      const S d = bad ? S(0) : d_plan.get(0, e) * plan.get(0, e);
                      d_plan.set(0, e, d);
                      return d;
                    }));
      });
      add_columns(team, at, piece, a.d_plan);
      rows_back(team, at, steps, piece);
    });
    for (int i = steps; i > 0; --i) {
      sum_pieces(b, at);
      // g_e = log(n / E) - log sum_t exp(A + f_t): exp(A + f + g) E / n of its column.
      phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
        phase::each(team, at.units_of(piece), [&](index in_piece) {
          const index t = piece * piece_units + in_piece;
          S sum(0);
          if (!a.bad[t]) {
            const S f = at.f(i - 1, t), warmth(a.inverse_temperature);
            const auto d_plan = a.d_plan.rows_at(t, 1), logits = a.logits.rows_at(t, 1), g = at.gs(i),
                       column = at.columns(0);
            sum = along_row<S>(E, [&](index e) {
              const S d = column.get(0, e) * math::exp(logits.get(0, e) * warmth + f + g.get(0, e)) * per;
              d_plan.set(0, e, d_plan.get(0, e) - d);
              return d;
            });
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
    /// Rows of experts, for loops along memory.
    POLYMOE_HD auto gs(int i) const { return a.kept.cols_at(i * (n + E) + n, E); }
    POLYMOE_HD auto columns(int row) const { return a.kept.cols_at(work() + n + row * E, E); }
    POLYMOE_HD auto partials(index piece, int row) const { return a.kept.cols_at(sums() + (2 * piece + row) * E, E); }
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
  /// Sum of f(e) over the experts, several at a time where there is one thread.
  template <class S, class F>
  POLYMOE_HD static S along_row(index E, F f) {
    S sum(0);
    if constexpr (is_dual<S>) {
      for (index e = 0; e < E; ++e) sum += f(e);
    } else {
      POLYMOE_SIMD_SUM(sum)
      for (index e = 0; e < E; ++e) sum += f(e);
    }
    return sum;
  }
  /// Largest |f(e)|, found by every thread for itself: experts are few, and it spares barriers.
  template <class Cells, class F>
  POLYMOE_HD static auto farthest(const potentials<Cells>& at, F f) {
    decltype(f(0)) most(0);
    for (index e = 0; e < at.E; ++e) {
      const auto x = f(e), far = x < 0 ? -x : x;
      most = far <= most ? most : far;
    }
    return most;
  }
  /// f_t = -log sum_e exp(A_te + g_e) of a piece.
  template <class Team, class Cells>
  POLYMOE_HD static void scale_rows(const Team& team, const potentials<Cells>& at, int i, index piece) {
    using S = typename potentials<Cells>::S;
    const Cells& a = at.a;
    phase::each(team, at.units_of(piece), [&](index in_piece) {
      const index t = piece * piece_units + in_piece;
      if (a.bad[t]) return;
      const S warmth(a.inverse_temperature);
      const auto logits = a.logits.rows_at(t, 1), g = at.gs(i);
      S most(-__builtin_inff());
      for (index e = 0; e < at.E; ++e)
        if (const S x = logits.get(0, e) * warmth + g.get(0, e); x > most) most = x;
      const S sum =
          along_row<S>(at.E, [&](index e) { return math::exp(logits.get(0, e) * warmth + g.get(0, e) - most); });
      at.set_f(i, t, -(most + math::log(sum)));
    });
  }
  /// P of the potentials g, its rows divided by their sums, which large potentials leave off by their rounding; f_t,
  /// and the sums of every piece's columns in partial row 0.
  template <class Block, class Cells>
  POLYMOE_HD static void make_plan(const Block& b, const potentials<Cells>& at, int i) {
    using S = typename potentials<Cells>::S;
    const Cells& a = at.a;
    phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
      scale_rows(team, at, i, piece);
      phase::each(team, at.units_of(piece), [&](index in_piece) {
        const index t = piece * piece_units + in_piece;
        const bool bad = a.bad[t];
        const S f = bad ? S(0) : at.f(i, t), warmth(a.inverse_temperature);
        const auto plan = a.plan.rows_at(t, 1), logits = a.logits.rows_at(t, 1), g = at.gs(i);
        const S sum = along_row<S>(at.E, [&](index e) {
          const S p = bad ? S(0) : math::exp(logits.get(0, e) * warmth + f + g.get(0, e));
          plan.set(0, e, p);
          return p;
        });
        if (!bad) scale_row(plan, S(1) / sum);
      });
      add_columns(team, at, piece, a.plan);
    });
  }
  template <class Row, class S>
  POLYMOE_HD static void scale_row(Row row, S factor) {
    POLYMOE_SIMD
    for (index e = 0; e < row.cols; ++e) row.set(0, e, row.get(0, e) * factor);
  }
  /// The plan's columns times their factors in column row 0, its rows then to 1, and the sums of the pieces' columns; f
  /// follows where it is kept.
  template <class Block, class Cells>
  POLYMOE_HD static void multiply(const Block& b, const potentials<Cells>& at, int from, int to) {
    using S = typename potentials<Cells>::S;
    const Cells& a = at.a;
    phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
      phase::each(team, at.units_of(piece), [&](index in_piece) {
        const index t = piece * piece_units + in_piece;
        if (a.bad[t]) return;
        const auto plan = a.plan.rows_at(t, 1), factor = at.columns(0);
        const S sum = along_row<S>(at.E, [&](index e) {
          const S p = plan.get(0, e) * factor.get(0, e);
          plan.set(0, e, p);
          return p;
        });
        if constexpr (weighs_plan) at.set_f(to, t, at.f(from, t) - math::log(sum));
        scale_row(plan, S(1) / sum);
      });
      add_columns(team, at, piece, a.plan);
    });
  }
  template <class Row>
  POLYMOE_HD static void add_row(Row sums, Row row) {
    POLYMOE_SIMD
    for (index e = 0; e < row.cols; ++e) sums.set(0, e, sums.get(0, e) + row.get(0, e));
  }
  /// Partial row 0 of a piece: the sums of its columns.  Units outermost, as they lie in memory; rows of bad units are
  /// 0.
  template <class Team, class Cells, class Rows>
  POLYMOE_HD static void add_columns(const Team& team, const potentials<Cells>& at, index piece, const Rows& rows) {
    using S = typename potentials<Cells>::S;
    phase::ranges(team, at.E, [&](index first, index count) {
      const auto sums = at.partials(piece, 0).cols_at(first, count);
      for (index e = 0; e < count; ++e) sums.set(0, e, S(0));
      at.each_unit(piece, [&](index t) { add_row(sums, rows.rows_at(t, 1).cols_at(first, count)); });
    });
  }
  /// f_t; then of every piece and column the largest exponent A_te + f_t in partial row 1 and the sum of exp(A_te + f_t
  /// - largest) in row 0.
  template <class Block, class Cells>
  POLYMOE_HD static void sum_exponents(const Block& b, const potentials<Cells>& at, int i) {
    using S = typename potentials<Cells>::S;
    const Cells& a = at.a;
    phase::short_lines(b, at.pieces(), [&](const auto& team, index piece) {
      scale_rows(team, at, i, piece);
      phase::ranges(team, at.E, [&](index first, index count) {
        for (index e = first; e < first + count; ++e)
          at.set_partial(piece, 0, e, S(0)), at.set_partial(piece, 1, e, S(-__builtin_inff()));
        at.each_unit(piece, [&](index t) {
          if (a.bad[t]) return;
          const S f = at.f(i, t);
          POLYMOE_SIMD
          for (index e = first; e < first + count; ++e) {
            const S x = a.scaled(t, e) + f, most = at.partial(piece, 1, e);
            at.set_partial(piece, 1, e, x > most ? x : most);
          }
        });
        at.each_unit(piece, [&](index t) {
          if (a.bad[t]) return;
          const S f = at.f(i, t);
          POLYMOE_SIMD
          for (index e = first; e < first + count; ++e)
            at.set_partial(piece, 0, e,
                           at.partial(piece, 0, e) + math::exp(a.scaled(t, e) + f - at.partial(piece, 1, e)));
        });
      });
    });
  }
  /// log sum_t exp(A_te + f_t), from the pieces.
  template <class Team, class Cells>
  POLYMOE_HD static auto log_column_sum(const Team& team, const potentials<Cells>& at, index e) {
    using S = typename potentials<Cells>::S;
    const S most = phase::max<S>(team, at.pieces(), [&](index piece) { return at.partial(piece, 1, e); });
    const S sum = phase::sum<S>(team, at.pieces(), [&](index piece) {
      // A piece without a finite unit has no largest exponent.
      const S held = at.partial(piece, 0, e);
      return value_of(held) > 0 ? held * math::exp(at.partial(piece, 1, e) - most) : S(0);
    });
    return most + math::log(sum);
  }
  /// Partial row 0 of a column over the pieces.
  template <class Team, class Cells>
  POLYMOE_HD static auto sum_of_pieces(const Team& team, const potentials<Cells>& at, index e) {
    return phase::sum<typename potentials<Cells>::S>(team, at.pieces(),
                                                     [&](index piece) { return at.partial(piece, 0, e); });
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
        const S unit = at.unit(t), f = at.f(i, t), warmth(a.inverse_temperature);
        const auto d_plan = a.d_plan.rows_at(t, 1), logits = a.logits.rows_at(t, 1), g = at.gs(i),
                   sums = at.partials(piece, 0);
        POLYMOE_SIMD
        for (index e = first; e < first + count; ++e) {
          const S d = unit * math::exp(logits.get(0, e) * warmth + f + g.get(0, e));
          d_plan.set(0, e, d_plan.get(0, e) - d);
          sums.set(0, e, sums.get(0, e) - d);
        }
      });
    });
  }
  /// The gradients of g: the sums of the pieces.
  template <class Block, class Cells>
  POLYMOE_HD static void sum_pieces(const Block& b, const potentials<Cells>& at) {
    phase::short_lines(b, at.E, [&](const auto& team, index e) {
      const auto sum = sum_of_pieces(team, at, e);
      if (team.rank() == 0) at.set_column(0, e, sum);
    });
  }
};

}  // namespace polymoe::score
