// score::solver::lbfgs: potentials of a transport plan by L-BFGS on the semi-dual, with the settings of JAXOPT's
// solver.
//
// Ten pairs of differences, the first inverse Hessian scaled by <s, y> / <y, y> of the last pair (Nocedal and Wright,
// algorithm 7.4 and equation 7.20); steps satisfy the strong Wolfe conditions, found in at most fifteen trials; the
// gradient's length below `tolerance` ends it.  Where k binds, J has kinks, at which a quasi-Newton method may stop
// early: see newton.hpp.
#pragma once

#include "lines.hpp"

namespace polymoe::inline v0::score::solver {

/// See the top of this file.
struct lbfgs {
  static constexpr const char* solver_name = "lbfgs";
  static constexpr bool differentiable = false;
  static constexpr int history = 10, most_trials = 15;

  int iterations = 20;      ///< at most
  float tolerance = 1e-3f;  ///< of the length of the gradient: the sums' errors, squared, summed, rooted

  void validate() const {
    detail::check_steps(iterations);
    require(tolerance >= 0, "sparse_transport: tolerance is ", tolerance, ", it must not be negative");
  }
  /// alpha, the point tried, gradient, direction, the new gradient, ten pairs, their weights; the lines.
  index kept(index units, index experts) const {
    return (rows + 2 * history) * (units > experts ? units : experts) + 2 * history +
           detail::transport_kept(units, experts, true);
  }

  /// Leaves the potentials and their plan in `l`; returns the steps taken.
  template <class Lines>
  POLYMOE_HD int solve(const Lines& l) const {
    using R = typename Lines::R;
    descent<Lines> d{l};
    // Places that are absent have no gradient.
    phase::each(l.b, l.length, [&](index i) { l.put(slope, i, R(0)), l.put(new_slope, i, R(0)); });
    l.begin(alpha);
    l.project_all(alpha);
    int done = 0;
    if (l.present > 0 && iterations > 0) {
      d.gradient(slope);
      d.value = l.dual(alpha);
      for (; done < iterations; ++done) {
        if (math::sqrt(d.dot(slope, slope)) <= R(tolerance)) break;
        const R falling = d.choose_direction();
        const auto found = d.search(falling);
        if (found.lower || found.value < d.value) {
          d.move_to(found.value);
          continue;
        }
        // At a kink: once more along the gradient, or the end; the plan is again that of alpha.
        l.project_all(alpha);
        if (d.pairs == 0) break;
        d.pairs = 0;
      }
    }
    l.leave_prices(alpha);
    l.write_plan();
    return done;
  }

 private:
  enum { alpha, tried, slope, direction, new_slope, rows };

  /// A point and what is known of J there and before: its slope, and pairs (s, y) of differences of points and slopes.
  template <class Lines>
  struct descent {
    using R = typename Lines::R;
    using S = typename Lines::S;

    const Lines& l;
    R value = R(0);  ///< J at alpha
    int pairs = 0;   ///< made since the last fresh start; the last `history` are kept

    POLYMOE_HD R dot(int u, int v) const {
      return l.total(l.length, [&](index i) { return l.number(u, i) * l.number(v, i); });
    }
    POLYMOE_HD void copy(int from, int to) const {
      phase::each(l.b, l.length, [&](index i) { l.put(to, i, l.number(from, i)); });
    }
    /// row = the gradient of J at the point that was projected last.
    POLYMOE_HD void gradient(int row) const {
      l.across([&](index i, R sum) { l.put(row, i, sum - l.wanted); });
    }

    /// direction = -H slope by the two loops over the pairs; returns <slope, direction>, which is below zero.
    POLYMOE_HD R choose_direction() {
      go_downhill();
      const int held = pairs < history ? pairs : history;
      for (int j = 0; j < held; ++j) {  // newest pair first
        const int pair = (pairs - 1 - j) % history, s = difference(pair);
        const R weight = dot(s, direction) / scalar(0, pair);
        set_scalar(1, pair, weight);
        phase::each(l.b, l.length,
                    [&](index i) { l.put(direction, i, l.number(direction, i) - weight * l.number(s + 1, i)); });
      }
      if (held > 0) {
        const int pair = (pairs - 1) % history, y = difference(pair) + 1;
        const R scale = scalar(0, pair) / dot(y, y);
        phase::each(l.b, l.length, [&](index i) { l.put(direction, i, scale * l.number(direction, i)); });
      }
      for (int j = held - 1; j >= 0; --j) {  // oldest first
        const int pair = (pairs - 1 - j) % history, s = difference(pair);
        const R weight = scalar(1, pair) - dot(s + 1, direction) / scalar(0, pair);
        phase::each(l.b, l.length,
                    [&](index i) { l.put(direction, i, l.number(direction, i) + weight * l.number(s, i)); });
      }
      const R falling = dot(slope, direction);
      if (falling < 0) return falling;
      pairs = 0;  // kinks made the pairs useless: begin again with the gradient
      go_downhill();
      return dot(slope, direction);
    }

    struct trial {
      R value;     ///< J at `tried`
      bool lower;  ///< it fell enough
    };
    /// Strong Wolfe conditions by a bracket: J falls enough, and its slope is a tenth less steep at least.  Leaves the
    /// last point in `tried`, its gradient in `new_slope`.
    POLYMOE_HD trial search(R falling) const {
      R step = pairs > 0 ? R(1) : R(1) / math::sqrt(-falling), near(0), distant(-1);
      trial last{R(0), false};
      for (int i = 0; i < most_trials; ++i) {
        phase::each(l.b, l.length,
                    [&](index t) { l.put(tried, t, l.number(alpha, t) + step * l.number(direction, t)); });
        l.project_all(tried);
        gradient(new_slope);
        last.value = l.dual(tried);
        const R now = dot(new_slope, direction);
        last.lower = last.value <= value + R(1e-4f) * step * falling;
        if (last.lower && (now < 0 ? -now : now) <= R(0.9f) * -falling) break;
        if (!last.lower || now > 0)
          distant = step;
        else
          near = step;
        step = distant < 0 ? step * R(2) : (near + distant) / R(2);
      }
      return last;
    }

    /// alpha = tried, where J is `found`; the step is a new pair if J bends upwards along it.
    POLYMOE_HD void move_to(R found) {
      const int pair = pairs % history, s = difference(pair);
      phase::each(l.b, l.length, [&](index i) {
        l.put(s, i, l.number(tried, i) - l.number(alpha, i));
        l.put(s + 1, i, l.number(new_slope, i) - l.number(slope, i));
      });
      const R bend = dot(s, s + 1);
      if (bend > 0) set_scalar(0, pair, bend), ++pairs;
      copy(tried, alpha), copy(new_slope, slope);
      value = found;
    }

   private:
    POLYMOE_HD void go_downhill() const {
      phase::each(l.b, l.length, [&](index i) { l.put(direction, i, -l.number(slope, i)); });
    }
    /// The row of s; y is the row after it.
    POLYMOE_HD static int difference(int pair) { return rows + 2 * pair; }
    // Two numbers of each pair, behind the rows: <s, y>, and the weight of the first loop.
    POLYMOE_HD index side(int which, int pair) const {
      return index{rows + 2 * history} * l.most + which * history + pair;
    }
    POLYMOE_HD R scalar(int which, int pair) const { return value_of(l.a.kept.get(0, side(which, pair))); }
    POLYMOE_HD void set_scalar(int which, int pair, R x) const {
      if (l.b.rank() == 0) l.a.kept.set(0, side(which, pair), S(x));
      l.b.sync();
    }
  };
};

}  // namespace polymoe::score::solver
