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

  template <class Lines>
  POLYMOE_HD int solve(const Lines& l) const {
    using R = typename Lines::R;
    using S = typename Lines::S;
    const auto dot = [&](int u, int v) {
      return l.total(l.length, [&](index i) { return l.number(u, i) * l.number(v, i); });
    };
    const auto copy = [&](int from, int to) {
      phase::each(l.b, l.length, [&](index i) { l.put(to, i, l.number(from, i)); });
    };
    const auto gradient = [&](int row) { l.across([&](index i, R sum) { l.put(row, i, sum - l.wanted); }); };
    // Two numbers of each pair, behind the rows: <s, y>, and the weight of the first loop.
    const auto side = [&](int which, int pair) { return index{rows + 2 * history} * l.most + which * history + pair; };
    const auto scalar = [&](int which, int pair) { return value_of(l.a.kept.get(0, side(which, pair))); };
    const auto set_scalar = [&](int which, int pair, R x) {
      if (l.b.rank() == 0) l.a.kept.set(0, side(which, pair), S(x));
      l.b.sync();
    };
    const auto difference = [](int pair) { return rows + 2 * pair; };  // s; y is the row after it

    // Places that are absent have no gradient.
    phase::each(l.b, l.length, [&](index i) { l.put(slope, i, R(0)), l.put(new_slope, i, R(0)); });
    l.begin(alpha);
    l.project_all(alpha);
    if (l.present == 0 || iterations == 0) {
      l.leave_prices(alpha);
      l.write_plan();
      return 0;
    }
    gradient(slope);
    R value = l.dual(alpha);
    int done = 0, pairs = 0;
    for (; done < iterations; ++done) {
      if (math::sqrt(dot(slope, slope)) <= R(tolerance)) break;
      // direction = -H slope, newest pair first, then oldest first.
      phase::each(l.b, l.length, [&](index i) { l.put(direction, i, -l.number(slope, i)); });
      const int held = pairs < history ? pairs : history;
      for (int j = 0; j < held; ++j) {
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
      for (int j = held - 1; j >= 0; --j) {
        const int pair = (pairs - 1 - j) % history, s = difference(pair);
        const R weight = scalar(1, pair) - dot(s + 1, direction) / scalar(0, pair);
        phase::each(l.b, l.length,
                    [&](index i) { l.put(direction, i, l.number(direction, i) + weight * l.number(s, i)); });
      }
      R falling = dot(slope, direction);
      if (!(falling < 0)) {  // kinks made the pairs useless: begin again with the gradient
        pairs = 0;
        phase::each(l.b, l.length, [&](index i) { l.put(direction, i, -l.number(slope, i)); });
        falling = dot(slope, direction);
      }
      // Strong Wolfe conditions by a bracket: J falls enough, and its slope is a tenth less steep at least.
      R step = pairs > 0 ? R(1) : R(1) / math::sqrt(-falling), near(0), distant(-1), found(0);
      bool lower = false;
      for (int trial = 0; trial < most_trials; ++trial) {
        phase::each(l.b, l.length,
                    [&](index i) { l.put(tried, i, l.number(alpha, i) + step * l.number(direction, i)); });
        l.project_all(tried);
        gradient(new_slope);
        found = l.dual(tried);
        const R now = dot(new_slope, direction);
        lower = found <= value + R(1e-4f) * step * falling;
        if (lower && (now < 0 ? -now : now) <= R(0.9f) * -falling) break;
        if (!lower || now > 0)
          distant = step;
        else
          near = step;
        step = distant < 0 ? step * R(2) : (near + distant) / R(2);
      }
      if (!lower && !(found < value)) {
        // At a kink: once more along the gradient, or the end; the plan is again that of alpha.
        l.project_all(alpha);
        if (pairs == 0) break;
        pairs = 0;
        continue;
      }
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
    l.leave_prices(alpha);
    l.write_plan();
    return done;
  }

 private:
  enum { alpha, tried, slope, direction, new_slope, rows };
};

}  // namespace polymoe::score::solver
