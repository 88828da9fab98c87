// The lines of a quadratic transport problem, and their exact solution for given potentials   (Liu, Puigcerver and
// Blondel 2023, "Sparsity-Constrained Optimal Transport", arXiv 2209.15466; paper C, arXiv 2401.15969).
//
//   P = argmax <P, S> - (gamma / 2) |P|^2,  P >= 0, every unit gives 1, every expert gets n / E, S the inner score
//
// over the n finite units of a group.  Where experts pick, a line is an expert's column and has one place for each
// unit; where units choose, a line is a unit's row.  On the semi-dual there is one potential alpha for each place, and
// every line x = alpha + S is solved by itself:
//
//   p = projection of x / (gamma b) on {p >= 0, sum p = 1, at most k non-zeros},  P = b p,  d alpha = sum of P - a
//
//   J(alpha) = sum over lines of (<P, x> - (gamma / 2) |P|^2) - a sum alpha
//
// which is to be made small, and is above <P, S> - (gamma / 2) |P|^2 of every plan with both sums.
//
// Solvers (adam.hpp, lbfgs.hpp, newton.hpp) find the potentials.  They leave them in the first numbers of cells.kept,
// the last of which hold the lines one after the other (where the solver asks for them) and sums of pieces of units.
//
// Sums of floating numbers are made by teams (core/block.hpp) or by every thread for itself, so that their bits do not
// tell how many blocks share a group.
#pragma once

#include "../../core/block.hpp"
#include "../../core/error.hpp"
#include "../../core/math.hpp"
#include "../../router/group_plan.hpp"
#include "../../router/order_key.hpp"

namespace polymoe::inline v0::score::detail {

/// What every solver's `iterations` has to be.
inline void check_steps(int iterations) {
  constexpr int most = 100000;
  require(iterations >= 0 && iterations <= most, "sparse_transport: iterations is ", iterations,
          ", it must lie in [0, ", most, "]");
}

/// Units whose share of a sum is made by one team.
inline constexpr index transport_piece = 32;
/// Numbers at the end of what is kept: `lines` or not, then a row of experts for every piece of units.
POLYMOE_HD constexpr index transport_kept(index units, index experts, bool lines) {
  return (lines ? units * experts : 0) + ceil_div(units, transport_piece) * experts;
}

template <class Block, class Cells>
struct transport_lines {
  using S = std::remove_cvref_t<decltype(std::declval<const Cells&>().scaled(0, 0))>;
  using R = decltype(value_of(S(0)));
  using key = decltype(descending_key(R(0)));

  const Block& b;
  const Cells& a;
  R gamma;
  index n, E;
  bool columns;         ///< lines are columns
  index lines, length;  ///< and their places
  index most;           ///< numbers of a row of cells.kept
  index k = 0;          ///< non-zeros of a line
  index pieces;         ///< of units
  int present = 0;      ///< finite units
  R share, line_sum, wanted;

  /// `nonzeros` as the score has it: 0 asks for the limit of the cells, below 0 for none.
  POLYMOE_HD transport_lines(const Block& block, const Cells& cells, float regular, index nonzeros)
      : b(block),
        a(cells),
        gamma(R(regular)),
        n(cells.units()),
        E(cells.experts()),
        columns(cells.picked),
        lines(columns ? E : n),
        length(columns ? n : E),
        most(n > E ? n : E),
        pieces(ceil_div(n, transport_piece)) {
    k = nonzeros < 0 ? length : nonzeros > 0 ? nonzeros : a.limit;
    int finite = 0;
    for (index t = b.rank(); t < n; t += b.width()) finite += !a.bad[t];
    present = b.sum(finite);
    share = present > 0 ? R(present) / R(E) : R(1);
    line_sum = columns ? share : R(1), wanted = columns ? R(1) : share;
  }

  POLYMOE_HD index unit(index line, index i) const { return columns ? i : line; }
  POLYMOE_HD index expert(index line, index i) const { return columns ? line : i; }
  POLYMOE_HD R score(index t, index e) const { return value_of(a.scores.get(t, e)); }
  /// Number i of row `row` of what is kept.
  POLYMOE_HD R number(int row, index i) const { return value_of(a.kept.get(0, row * most + i)); }
  POLYMOE_HD void put(int row, index i, R x) const { a.kept.set(0, row * most + i, S(x)); }
  POLYMOE_HD bool absent(index i) const { return columns && a.bad[i]; }
  /// Place i of a line.
  POLYMOE_HD index cell_at(index line, index i) const {
    return a.kept.cols - transport_kept(n, E, true) + line * length + i;
  }
  POLYMOE_HD R cell(index line, index i) const { return value_of(a.kept.get(0, cell_at(line, i))); }
  POLYMOE_HD void put_cell(index line, index i, R x) const { a.kept.set(0, cell_at(line, i), S(x)); }
  POLYMOE_HD R part(index piece, index e) const { return value_of(a.kept.get(0, part_at(piece, e))); }
  POLYMOE_HD void put_part(index piece, index e, R x) const { a.kept.set(0, part_at(piece, e), S(x)); }

  /// Sum of f(i) over i in [0, count), count at most the larger of n and E, on every thread.
  template <class F>
  POLYMOE_HD R total(index count, F f) const {
    const index parts = ceil_div(count, total_piece), at = a.kept.cols - transport_kept(n, E, false);
    phase::short_lines(b, parts, [&](const auto& team, index i) {
      const index first = i * total_piece, left = count - first;
      const R sum = phase::sum<R>(team, left < total_piece ? left : total_piece, [&](index j) { return f(first + j); });
      if (team.rank() == 0) a.kept.set(0, at + i, S(sum));
    });
    R sum(0);
    for (index i = 0; i < parts; ++i) sum += value_of(a.kept.get(0, at + i));
    b.sync();
    return sum;
  }
  /// put(e, sum of f(t, e) over the units that `counts` has) for every expert, the units of a piece together; `put` by
  /// one thread for each.  Units outermost, as they lie in memory.
  template <class Counts, class F, class Put>
  POLYMOE_HD void sum_units(Counts counts, F f, Put put) const {
    phase::short_lines(b, pieces, [&](const auto& team, index piece) {
      const index begin = piece * transport_piece, end = begin + transport_piece < n ? begin + transport_piece : n;
      phase::ranges(team, E, [&](index first, index count) {
        for (index e = first; e < first + count; ++e) put_part(piece, e, R(0));
        for (index t = begin; t < end; ++t) {
          if (!counts(t)) continue;
          POLYMOE_SIMD
          for (index e = first; e < first + count; ++e) put_part(piece, e, part(piece, e) + f(t, e));
        }
      });
    });
    add_parts(put);
  }
  /// put(e, number of units t with which(t) == e) likewise.
  template <class Which, class Put>
  POLYMOE_HD void count_units(Which which, Put put) const {
    phase::short_lines(b, pieces, [&](const auto& team, index piece) {
      const index begin = piece * transport_piece, end = begin + transport_piece < n ? begin + transport_piece : n;
      phase::ranges(team, E, [&](index first, index count) {
        for (index e = first; e < first + count; ++e) put_part(piece, e, R(0));
        for (index t = begin; t < end; ++t)
          if (const index e = which(t); e >= first && e < first + count) put_part(piece, e, part(piece, e) + R(1));
      });
    });
    add_parts(put);
  }
  /// f(i, sum over all lines) for every place i that is not absent, from the lines kept.
  template <class F>
  POLYMOE_HD void across(F f) const {
    if (columns)
      phase::each(b, n, [&](index t) {
        if (a.bad[t]) return;
        R sum(0);
        for (index e = 0; e < E; ++e) sum += cell(e, t);
        f(t, sum);
      });
    else
      sum_units([](index) { return true; }, [&](index t, index e) { return cell(t, e); }, f);
  }

  /// alpha of a unit at which sum_e [S_te - q_e + alpha]_+ = gamma over its open experts; found from above, where every
  /// pass takes away what fell below 0.  `none` where no expert is open.
  template <class Price, class Open>
  POLYMOE_HD R unit_potential(index t, R regular, R none, Price q, Open open) const {
    R top(-__builtin_inff());
    POLYMOE_SIMD_MAX(top)
    for (index e = 0; e < E; ++e) {
      const R v = open(e) ? score(t, e) - q(e) : R(-__builtin_inff());
      top = v > top ? v : top;
    }
    if (!(top > R(-__builtin_inff()))) return none;
    R potential = regular - top;
    for (int held = -1;;) {
      R sum(0);
      int above = 0;
      POLYMOE_SIMD_SUM(sum, above)
      for (index e = 0; e < E; ++e) {
        const R v = score(t, e) - q(e);
        const bool counts = open(e) && v + potential > 0;
        sum += counts ? v : R(0), above += counts ? 1 : 0;
      }
      if ((held >= 0 && above >= held) || above == 0) return potential;  // rounding may bring one back
      potential = (regular - sum) / R(above), held = above;
    }
  }

  /// First potentials, in row `alpha`: those of the prices the cells start from, or 0.
  POLYMOE_HD void begin(int alpha) const {
    phase::each(b, most, [&](index i) {
      R x(0);
      if (a.start && i < length && !absent(i))
        x = columns ? unit_potential(
                          i, gamma, R(0), [&](index e) { return R(a.start[e]); }, [](index) { return true; })
                    : -R(a.start[i]);
      put(alpha, i, x);
    });
  }
  /// The experts' prices for the potentials in row `alpha`, where cells want them: thresholds of columns, or what rows
  /// subtract; less their mean, which means nothing.
  POLYMOE_HD void leave_prices(int alpha) const {
    leave([&](const auto& team, index e) {
      if (!columns) return -number(alpha, e);
      return phase::max<R>(team, n, [&](index t) {
        const R p = cell(e, t);
        return p > 0 ? number(alpha, t) + score(t, e) - gamma * p : R(-__builtin_inff());
      });
    });
  }
  /// price(team, e), which all threads of a team ask for together.  A group without finite units leaves NaN.
  template <class Price>
  POLYMOE_HD void leave(Price price) const {
    if (!a.found) return;
    if (present == 0) return phase::each(b, E, [&](index e) { a.found[e] = __builtin_nanf(""); });
    phase::short_lines(b, E, [&](const auto& team, index e) {
      const R x = price(team, e);
      if (team.rank() == 0) put_part(0, e, math::is_finite(x) ? x : R(0));
    });
    R sum(0);
    for (index e = 0; e < E; ++e) sum += part(0, e);
    phase::each(b, E, [&](index e) { a.found[e] = static_cast<float>(part(0, e) - sum / R(E)); });
  }

  /// Every line for the potentials in row `alpha`: line_sum times the projection of x / (gamma line_sum) on the simplex
  /// with k non-zeros.
  POLYMOE_HD void project_all(int alpha) const {
    phase::lines(b, lines, length, a.bins, [&](const auto& team, int* bins, index line) {
      const auto get = [&](index i) { return cell(line, i); };
      const auto put = [&](index i, R x) { put_cell(line, i, x); };
      phase::each(team, length, [&](index i) { put(i, number(alpha, i) + score(unit(line, i), expert(line, i))); });
      const R scale = R(1) / (gamma * line_sum), nothing(-__builtin_inff());
      // The k largest stay.
      phase::select_first(
          team, static_cast<int>(length), static_cast<int>(k < length ? k : length), bins,
          [&](int i) { return a.bad[unit(line, i)] ? ~key(0) : descending_key(get(i)); },
          [&](int i, int) { put(i, get(i) * scale); }, [&](int i) { put(i, nothing); });
      project(team, get, put);
    });
  }
  /// The line that get() has, in units of gamma line_sum and -infinity where it is to be 0, in its place.
  template <class Team, class Get, class Put>
  POLYMOE_HD void project(const Team& team, Get get, Put put) const {
    // The threshold: the mean excess of those above it; every pass takes away what fell below, until nothing does.
    R threshold(-__builtin_inff());
    for (int held = -1;;) {
      const int above = phase::sum<int>(team, length, [&](index i) { return get(i) > threshold ? 1 : 0; });
      if ((held >= 0 && above >= held) || above == 0) break;
      const R sum = phase::sum<R>(team, length, [&](index i) { return get(i) > threshold ? get(i) : R(0); });
      threshold = (sum - R(1)) / R(above);
      held = above;
    }
    phase::each(team, length, [&](index i) {
      const R over = get(i) - threshold;
      put(i, over > 0 ? line_sum * over : R(0));
    });
  }
  /// The plan from the lines kept.
  POLYMOE_HD void write_plan() const {
    phase::short_lines(b, pieces, [&](const auto& team, index piece) {
      const index begin = piece * transport_piece, end = begin + transport_piece < n ? begin + transport_piece : n;
      for (index t = begin; t < end; ++t)
        for (index e = team.rank(); e < E; e += team.width()) a.plan.set(t, e, S(columns ? cell(e, t) : cell(t, e)));
    });
  }
  /// J of the potentials in row `alpha`, whose lines are kept.
  POLYMOE_HD R dual(int alpha) const {
    const R of_lines = total(n, [&](index t) {
      R sum(0);
      if (a.bad[t]) return sum;
      for (index e = 0; e < E; ++e) {
        const R p = columns ? cell(e, t) : cell(t, e);
        sum += p * (number(alpha, columns ? t : e) + score(t, e) - gamma / R(2) * p);
      }
      return sum;
    });
    return of_lines - wanted * total(length, [&](index i) { return absent(i) ? R(0) : number(alpha, i); });
  }

 private:
  static constexpr index total_piece = 256;
  template <class Put>
  POLYMOE_HD void add_parts(Put put) const {
    phase::short_lines(b, E, [&](const auto& team, index e) {
      const R sum = phase::sum<R>(team, pieces, [&](index piece) { return part(piece, e); });
      if (team.rank() == 0) put(e, sum);
    });
  }
  POLYMOE_HD index part_at(index piece, index e) const {
    return a.kept.cols - transport_kept(n, E, false) + piece * E + e;
  }
};

}  // namespace polymoe::score::detail
