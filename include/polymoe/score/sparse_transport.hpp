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
  /// alpha and Adam's two moments, the lines of the plan one after the other, and a row of sums for every piece of
  /// units.
  index kept(index units, index experts) const {
    return 3 * (units > experts ? units : experts) + units * experts + ceil_div(units, piece_units) * experts;
  }

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
    const auto cell = [&](index line, index i) { return value_of(a.kept.get(0, rows * most + line * length + i)); };
    const auto put_cell = [&](index line, index i, R x) { a.kept.set(0, rows * most + line * length + i, S(x)); };
    const auto of_piece = [&](index piece, index e) { return rows * most + n * E + piece * E + e; };
    const index pieces = ceil_div(n, piece_units);
    phase::each(b, most, [&](index i) {
      for (int row = 0; row < rows; ++row) put(row, i, R(0));
    });

    R decay1(1), decay2(1);
    for (int step = 0;; ++step) {
      phase::lines(b, lines, length, a.bins, [&](const auto& team, int* bins, index line) {
        const auto unit = [&](index i) { return columns ? i : line; };
        phase::each(team, length, [&](index i) {
          put_cell(line, i, number(alpha, i) + value_of(a.scores.get(unit(i), columns ? line : i)));
        });
        project(
            team, bins, length, k, line_sum, [&](index i) { return a.bad[unit(i)] != 0; },
            [&](index i) { return cell(line, i); }, [&](index i, R x) { put_cell(line, i, x); });
      });
      if (step == iterations || present == 0) break;
      decay1 *= R(0.9f), decay2 *= R(0.999f);
      const auto descend = [&](index i, R sum) {
        const R d = sum - wanted;
        put(first, i, R(0.9f) * number(first, i) + (R(1) - R(0.9f)) * d);
        put(second, i, R(0.999f) * number(second, i) + (R(1) - R(0.999f)) * d * d);
        const R mean = number(first, i) / (R(1) - decay1), square = number(second, i) / (R(1) - decay2);
        put(alpha, i, number(alpha, i) - R(learning_rate) * mean / (math::sqrt(square) + R(1e-8f)));
      };
      if (columns) {
        phase::each(b, n, [&](index t) {
          if (a.bad[t]) return;
          R sum(0);
          for (index e = 0; e < E; ++e) sum += cell(e, t);
          descend(t, sum);
        });
      } else {
        // The units of a column, piece by piece.
        phase::short_lines(b, pieces, [&](const auto& team, index piece) {
          const index t0 = piece * piece_units, end = t0 + piece_units < n ? t0 + piece_units : n;
          phase::each(team, E, [&](index e) {
            R sum(0);
            for (index t = t0; t < end; ++t) sum += cell(t, e);
            a.kept.set(0, of_piece(piece, e), S(sum));
          });
        });
        phase::short_lines(b, E, [&](const auto& team, index e) {
          const R sum =
              phase::sum<R>(team, pieces, [&](index piece) { return value_of(a.kept.get(0, of_piece(piece, e))); });
          if (team.rank() == 0) descend(e, sum);
        });
      }
    }
    phase::short_lines(b, pieces, [&](const auto& team, index piece) {
      const index t0 = piece * piece_units, end = t0 + piece_units < n ? t0 + piece_units : n;
      for (index t = t0; t < end; ++t)
        for (index e = team.rank(); e < E; e += team.width()) a.plan.set(t, e, S(columns ? cell(e, t) : cell(t, e)));
    });
    if (b.rank() == 0) *a.steps = iterations;
  }

 private:
  /// Units whose share of a column's sum is made by one team.
  static constexpr index piece_units = 32;

  /// One line of the plan in place of x: line_sum times the projection of x / (gamma line_sum) on the simplex with k
  /// non-zeros.
  template <class Team, class R, class Bad, class Get, class Put>
  POLYMOE_HD void project(const Team& b, int* bins, index length, index k, R line_sum, Bad bad, Get x, Put put) const {
    using U = decltype(descending_key(R(0)));
    const R scale = R(1) / (R(gamma) * line_sum), nothing(-__builtin_inff());
    // The k largest stay.
    phase::select_first(
        b, static_cast<int>(length), static_cast<int>(k < length ? k : length), bins,
        [&](int i) { return bad(i) ? ~U(0) : descending_key(x(i)); }, [&](int i, int) { put(i, x(i) * scale); },
        [&](int i) { put(i, nothing); });
    // The threshold: the mean excess of those above it; every pass takes away what fell below, until nothing does.
    R threshold = nothing;
    for (int held = -1;;) {
      const int above = phase::sum<int>(b, length, [&](index i) { return x(i) > threshold ? 1 : 0; });
      if (above == held || above == 0) break;
      const R sum = phase::sum<R>(b, length, [&](index i) { return x(i) > threshold ? x(i) : R(0); });
      threshold = (sum - R(1)) / R(above);
      held = above;
    }
    phase::each(b, length, [&](index i) {
      const R over = x(i) - threshold;
      put(i, over > 0 ? line_sum * over : R(0));
    });
  }
};

}  // namespace polymoe::score
