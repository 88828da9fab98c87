// Quadratic transport on given cells, solved for one price per expert by semi-smooth Newton steps.
//
//   min over prices q of   sum_t max_{p in simplex(cells of t)} (<p, S_t - q> - (gamma / 2) |p|^2)  +  (n / E) sum q
//
// Each unit's row is solved exactly, P_te = [S_te - q_e + alpha_t]_+ / gamma, so units always give 1 and what is left
// is a convex function of E numbers, smooth, quadratic on pieces.  Its gradient is n / E - sum_t P_te; its second
// derivative is L / gamma with
//
//   (L v)_e = sum over units t that use e of (v_e - mean of v over the experts t uses)
//
// A step solves (L + a ridge) d = gamma * (sum_t P_te - n / E) by conjugate gradients, which read the plan and need no
// matrix.  Steps are as long as the slope along them says: the derivative of a convex function along a line only rises,
// and needs no differences of values, which float would not have the digits for.  Where the cells admit a plan with
// both sums, steps end after finitely many pieces; where they admit none, prices would rise for ever and `most` ends
// them.
//
// The same L gives the derivative: on the cells P uses, P is linear in S, gamma dP = dS with its row and column means
// taken out (`without_means`), which is its own transpose.
#pragma once

#include "lines.hpp"

namespace polymoe::inline v0::score::detail {

/// Numbers kept: the potentials, rows of units, rows of experts.
struct price_rows {
  enum { potential, used, mean, came, went, unit_rows };
  enum { price, trial, excess, step, residual, toward, image, weight, last, expert_rows };
  static constexpr index kept(index units, index experts) {
    return (units > experts ? units : experts) + index{unit_rows} * units + index{expert_rows} * experts +
           transport_kept(units, experts, false);
  }
};

template <class Lines>
struct transport_prices : price_rows {
  using R = typename Lines::R;
  using S = typename Lines::S;

  const Lines& l;
  POLYMOE_HD explicit transport_prices(const Lines& lines) : l(lines) {}

  POLYMOE_HD index unit_at(int row, index t) const { return l.most + row * l.n + t; }
  POLYMOE_HD index expert_at(int row, index e) const { return l.most + unit_rows * l.n + row * l.E + e; }
  POLYMOE_HD R of_unit(int row, index t) const { return value_of(l.a.kept.get(0, unit_at(row, t))); }
  POLYMOE_HD R of_expert(int row, index e) const { return value_of(l.a.kept.get(0, expert_at(row, e))); }
  POLYMOE_HD void set_unit(int row, index t, R x) const { l.a.kept.set(0, unit_at(row, t), S(x)); }
  POLYMOE_HD void set_expert(int row, index e, R x) const { l.a.kept.set(0, expert_at(row, e), S(x)); }
  POLYMOE_HD R cell(index t, index e) const { return value_of(l.a.plan.get(t, e)); }
  /// Cells below 0 are not to be used.
  POLYMOE_HD bool open(index t, index e) const { return cell(t, e) >= 0; }

  /// f(e, x) for each x of the row `row` of experts: set to f(e).
  template <class F>
  POLYMOE_HD void each_expert(int row, F f) const {
    phase::each(l.b, l.E, [&](index e) { set_expert(row, e, f(e)); });
  }
  /// Of rows of experts, by every thread for itself: experts are few, and it spares barriers.
  POLYMOE_HD R dot(int u, int v) const {
    R sum(0);
    for (index e = 0; e < l.E; ++e) sum += of_expert(u, e) * of_expert(v, e);
    return sum;
  }
  /// The expert row `row` becomes start(e) + sum over finite units of f(t, e).
  template <class Start, class F>
  POLYMOE_HD void sum_units(int row, Start start, F f) const {
    l.sum_units([&](index t) { return !l.a.bad[t]; }, f, [&](index e, R sum) { set_expert(row, e, start(e) + sum); });
  }

  /// Rows of the plan for the prices in row `row` at `gamma`, and what experts are asked for beyond n / E.  Returns the
  /// largest such excess, as a share of n / E.
  POLYMOE_HD R evaluate(int row, R gamma) const {
    phase::each(l.b, l.n, [&](index t) {
      set_unit(potential, t, R(0)), set_unit(used, t, R(0));
      if (l.a.bad[t]) return;
      const auto q = [&](index e) { return of_expert(row, e); };
      const R none(-__builtin_inff()), alpha = l.unit_potential(t, gamma, none, q, [&](index e) { return open(t, e); });
      if (!(alpha > none)) return;
      const R scale = R(1) / gamma;
      int above = 0;
      POLYMOE_SIMD_SUM(above)
      for (index e = 0; e < l.E; ++e) {
        const R over = (l.score(t, e) - q(e) + alpha) * scale;
        const R p = over > 0 ? over : R(0);
        const bool in = open(t, e);
        l.a.plan.set(t, e, S(in ? p : R(-1)));
        above += in && p > 0 ? 1 : 0;
      }
      set_unit(potential, t, alpha), set_unit(used, t, R(above));
    });
    sum_units(
        excess, [&](index) { return -l.share; },
        [&](index t, index e) {
          const R p = cell(t, e);
          return p > 0 ? p : R(0);
        });
    return off();
  }
  /// Largest excess that was evaluated last, as a share of n / E.
  POLYMOE_HD R off() const {
    R most(0);
    for (index e = 0; e < l.E; ++e) {
      const R x = of_expert(excess, e), size = x < 0 ? -x : x;
      most = size > most ? size : most;
    }
    return most / l.share;
  }

  /// image = (L + ridge) v for the expert row v.
  POLYMOE_HD void apply(int v, R ridge) const {
    means([&](index, index e) { return of_expert(v, e); });
    sum_units(
        image, [&](index e) { return ridge * of_expert(v, e); },
        [&](index t, index e) { return cell(t, e) > 0 ? of_expert(v, e) - of_unit(mean, t) : R(0); });
  }
  /// step = (L + ridge)^-1 of the expert row `residual`, which is used up, until it is `accuracy` of what it was.
  POLYMOE_HD void solve(R ridge, R accuracy) const {
    sum_units(
        weight, [&](index) { return ridge; },
        [&](index t, index e) { return cell(t, e) > 0 ? R(1) - R(1) / of_unit(used, t) : R(0); });
    each_expert(weight, [&](index e) { return of_expert(weight, e) > 0 ? R(1) / of_expert(weight, e) : R(1); });
    each_expert(step, [](index) { return R(0); });
    each_expert(toward, [&](index e) { return of_expert(weight, e) * of_expert(residual, e); });
    const auto norm = [&] {
      R sum(0);
      for (index e = 0; e < l.E; ++e) sum += of_expert(residual, e) * of_expert(residual, e) * of_expert(weight, e);
      return sum;
    };
    R rr = norm();
    const R enough = rr * accuracy * accuracy;
    for (index round = 0; round < 2 * l.E + 10 && rr > enough && rr > 0; ++round) {
      apply(toward, ridge);
      const R bend = dot(toward, image);
      if (!(bend > 0)) break;
      const R along = rr / bend;
      each_expert(step, [&](index e) { return of_expert(step, e) + along * of_expert(toward, e); });
      each_expert(residual, [&](index e) { return of_expert(residual, e) - along * of_expert(image, e); });
      const R before = rr;
      rr = norm();
      const R keep = rr / before;
      each_expert(toward,
                  [&](index e) { return of_expert(weight, e) * of_expert(residual, e) + keep * of_expert(toward, e); });
    }
  }

  /// Prices (in row `price`) whose plan has column sums right to `tolerance` of n / E, from those there.  At most
  /// `most` steps; returns those made.  The plan is that of the prices.
  POLYMOE_HD int balance(R gamma, R tolerance, int most) const {
    R off = evaluate(price, gamma), least = off;
    int done = 0, stuck = 0;
    for (; done < most && off > tolerance; ++done) {
      // Near the end of the digits nothing more is gained.
      stuck = off < R(1e-3f) && off > R(0.7f) * least ? stuck + 1 : 0;
      least = off < least ? off : least;
      if (stuck > 4) break;
      // The ridge moves prices where no unit divides itself between experts, and goes away as the sums become right.
      const R far = off < 1 ? off : R(1), ridge = l.share * (far * R(0.05f) + R(1e-6f));
      each_expert(residual, [&](index e) { return gamma * of_expert(excess, e); });
      solve(ridge, far < R(1e-2f) ? R(1e-4f) : R(1e-2f));
      const R first = -dot(excess, step);
      if (!(first < 0)) break;
      // The slope rises along the step.  A place where it is still well below 0 is too near, above 0 too far.
      R near(0), near_slope = first, distant(-1), distant_slope(0), length(1);
      for (int trials = 0;; ++trials) {
        each_expert(trial, [&](index e) { return of_expert(price, e) + length * of_expert(step, e); });
        off = evaluate(trial, gamma);
        const R slope = -dot(excess, step);
        if (off <= tolerance || (slope >= R(0.5f) * first && slope <= R(-0.1f) * first) || trials == 20) break;
        if (slope < 0)
          near = length, near_slope = slope;
        else
          distant = length, distant_slope = slope;
        if (distant < 0) {
          if (length >= R(64)) break;
          length *= R(2);
        } else {
          const R root = near_slope / (near_slope - distant_slope);
          length = near + (distant - near) * (root < R(0.1f) ? R(0.1f) : root > R(0.9f) ? R(0.9f) : root);
        }
      }
      each_expert(price, [&](index e) { return of_expert(trial, e); });
    }
    return done;
  }

  /// put(t, e, x): the field get(t, e) on the cells that P uses with its row and column means taken out, 0 elsewhere.
  template <class Get, class Put>
  POLYMOE_HD void without_means(Get get, Put put) const {
    phase::each(l.b, l.n, [&](index t) {
      int above = 0;
      for (index e = 0; e < l.E; ++e) above += !l.a.bad[t] && cell(t, e) > 0;
      set_unit(used, t, R(above));
    });
    means(get);
    sum_units(
        residual, [](index) { return R(0); },
        [&](index t, index e) { return cell(t, e) > 0 ? get(t, e) - of_unit(mean, t) : R(0); });
    solve(R(0), sizeof(R) == 4 ? R(1e-7f) : R(1e-15));
    means([&](index t, index e) { return get(t, e) - of_expert(step, e); });
    phase::each(l.b, l.n, [&](index t) {
      for (index e = 0; e < l.E; ++e)
        put(t, e, !l.a.bad[t] && cell(t, e) > 0 ? get(t, e) - of_expert(step, e) - of_unit(mean, t) : R(0));
    });
  }

 private:
  /// The mean of x(t, e) over the cells that unit t uses, in the row `mean`.
  template <class X>
  POLYMOE_HD void means(X x) const {
    phase::each(l.b, l.n, [&](index t) {
      R sum(0);
      if (of_unit(used, t) > 0) {
        POLYMOE_SIMD_SUM(sum)
        for (index e = 0; e < l.E; ++e) sum += cell(t, e) > 0 ? x(t, e) : R(0);
        sum = sum / of_unit(used, t);
      }
      set_unit(mean, t, sum);
    });
  }
};

}  // namespace polymoe::score::detail
