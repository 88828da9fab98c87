// score::solver::newton: a transport plan whose sums are right, by Newton steps on one price per expert (prices.hpp).
//
// Without a limit on the non-zeros this is the whole method: the semi-dual is smooth there, and a few steps end it.
//
// With at most k non-zeros in a line the semi-dual has kinks, and at its minimum the k largest of a line are ties: no
// rule that breaks ties line by line has the other sums right, and where k E / n is no whole number there may be no
// plan at all that reaches the bound.  So the cells are chosen first, in such a way that a plan with both sums exists,
// and the problem is then solved on them:
//
//   1  prices at a smaller gamma, at which units use few experts
//   2  every unit gets one expert at these prices.  An expert asked by more than its part of n keeps those who lose
//      most elsewhere and closes; the others ask again.  Parts differ by at most one unit.
//   3  further rounds of the same, while experts have room; the last goes to the units that lose least against their
//      first expert.  Units so have about equally many cells, which is what the quadratic term pays for
//   4  Newton steps on these cells at the real gamma, from these prices
//   5  trials of other cells, kept where the plan is then worth more (exchange.hpp)
//
// The cells of step 2 hold a plan with both sums: the parts themselves where E divides n; else one cell more for each
// expert lets parts be cut inside a unit, which takes k above n / E by one, and in rows as many cells as a unit has
// experts then (detail::unit_cells).  So step 4 has a solution.  Where there is none (k E < n; k the next whole number
// above n / E; in rows fewer cells than that) lines are exact, the other sums about as near as they come.  A plan that
// step 1 already finds sparse enough at the real gamma is the optimum and is kept.
#pragma once

#include "exchange.hpp"

namespace polymoe::inline v0::score {

namespace detail {
/// Units of 1 and experts of n / E laid end to end: the most experts that a unit lies on.
POLYMOE_HD constexpr index unit_cells(index units, index experts) {
  const index whole = experts / units, rest = experts % units;
  return whole + (rest == 0 ? 0 : units % rest == 0 ? 1 : 2);
}
static_assert(unit_cells(8, 4) == 1 && unit_cells(7, 4) == 2, "polymoe: a unit of many lies on one expert, or is cut");
static_assert(unit_cells(2, 4) == 2 && unit_cells(2, 5) == 3 && unit_cells(3, 5) == 3,
              "polymoe: a unit of few lies on several experts");
}  // namespace detail

namespace solver {

struct newton {
  static constexpr const char* solver_name = "newton";
  static constexpr bool differentiable = true;

  int iterations = 50;      ///< Newton steps of a plan, at most, before and after its cells are chosen
  float tolerance = 1e-4f;  ///< the sums are right to this share of n / E
  int exchanges = 8;        ///< trials of other cells, at most, each kept where the plan is worth more (exchange.hpp)
  /// A trial is made where it can gain more than this share, a unit, of the scores' spread: largest less smallest of a
  /// unit, in the mean.
  float worthwhile = 1e-3f;

  void validate() const {
    detail::check_steps(iterations);
    require(tolerance >= 0, "sparse_transport: tolerance is ", tolerance, ", it must not be negative");
    require(exchanges >= 0, "sparse_transport: exchanges is ", exchanges, ", it must not be negative");
    require(worthwhile >= 0, "sparse_transport: worthwhile is ", worthwhile, ", it must not be negative");
  }
  index kept(index units, index experts) const { return detail::price_rows::kept(units, experts); }

  template <class Lines>
  POLYMOE_HD int solve(const Lines& l) const {
    using R = typename Lines::R;
    using prices = detail::transport_prices<Lines>;
    const prices p(l);
    if (l.present == 0) {
      phase::each(l.b, l.n, [&](index t) {
        for (index e = 0; e < l.E; ++e) l.a.plan.set(t, e, typename Lines::S(0));
      });
      l.leave([](const auto&, index) { return R(0); });
      return 0;
    }
    p.each_expert(prices::price, [&](index e) { return l.a.start ? R(l.a.start[e]) : R(0); });
    open_all(l);
    const bool limited = l.k < l.length;
    const R found_at = limited ? choosing_gamma(l) : l.gamma;
    int done = p.balance(found_at, limited && found_at < l.gamma ? R(1e-2f) : R(tolerance), iterations);
    l.leave([&](const auto&, index e) { return p.of_expert(prices::price, e); });
    if (limited && !(found_at == l.gamma && sparse_enough(l, p))) {
      bound(l, p);
      // Where no plan exists prices rise for ever; a few steps bring the sums about as near as they come.
      const bool exists = choose_cells(l, p);
      done += p.balance(l.gamma, R(tolerance), exists || iterations < 10 ? iterations : 10);
      // A unit that is whole on its one expert leaves Newton steps nothing to divide.
      const bool divides = l.columns || l.k > 1;
      if (exists && divides) done += detail::cell_exchange<Lines>{l, p}.run(exchanges, R(worthwhile), R(tolerance));
      finish(l, p, false);
    } else {
      finish(l, p, true);
    }
    return done;
  }

  /// d_plan becomes the gradient of the scores, exact where the sums are right and the cells stay the same.
  template <class Lines>
  POLYMOE_HD void plan_vjp(const Lines& l) const {
    using S = typename Lines::S;
    using R = typename Lines::R;
    const detail::transport_prices<Lines> p(l);
    if constexpr (is_dual<S>) {
      // Linear on the cells in use, so value and tangent go the same way, one after the other.
      p.without_means([&](index t, index e) { return l.a.d_plan.get(t, e).v / l.gamma; },
                      [&](index t, index e, R x) {
                        l.a.d_plan.set(t, e, {x, l.a.d_plan.get(t, e).t});
                      });
      p.without_means([&](index t, index e) { return l.a.d_plan.get(t, e).t / l.gamma; },
                      [&](index t, index e, R x) {
                        l.a.d_plan.set(t, e, {l.a.d_plan.get(t, e).v, x});
                      });
    } else {
      p.without_means([&](index t, index e) { return l.a.d_plan.get(t, e) / l.gamma; },
                      [&](index t, index e, R x) { l.a.d_plan.set(t, e, x); });
    }
  }
  /// The tangent of the plan from that of the scores, for dual numbers.
  template <class Lines>
  POLYMOE_HD void plan_tangent(const Lines& l) const {
    using S = typename Lines::S;
    using R = typename Lines::R;
    const detail::transport_prices<Lines> p(l);
    p.without_means([&](index t, index e) { return l.a.scores.get(t, e).t / l.gamma; },
                    [&](index t, index e, R x) { l.a.plan.set(t, e, S(value_of(l.a.plan.get(t, e)), x)); });
  }

 private:
  template <class Lines>
  POLYMOE_HD static void open_all(const Lines& l) {
    phase::each(l.b, l.n, [&](index t) {
      for (index e = 0; e < l.E; ++e) l.a.plan.set(t, e, typename Lines::S(l.a.bad[t] ? -1 : 0));
    });
  }
  /// gamma, or a quarter of what a unit's best score is above its mean one, where that is less.
  template <class Lines>
  POLYMOE_HD static typename Lines::R choosing_gamma(const Lines& l) {
    using R = typename Lines::R;
    const R spread = l.total(l.n, [&](index t) {
      if (l.a.bad[t]) return R(0);
      R top = l.score(t, 0), sum(0);
      for (index e = 0; e < l.E; ++e) {
        const R s = l.score(t, e);
        top = s > top ? s : top, sum += s;
      }
      return top - sum / R(l.E);
    });
    const R quarter = spread / R(l.present) / R(4);
    return quarter > 0 && quarter < l.gamma ? quarter : l.gamma;
  }
  template <class Lines, class Prices>
  POLYMOE_HD static bool sparse_enough(const Lines& l, const Prices& p) {
    using R = typename Lines::R;
    if (!l.columns)  // evaluate() counted the experts that units use
      return phase::sum<int>(l.b, l.n, [&](index t) { return p.of_unit(Prices::used, t) > R(l.k) ? 1 : 0; }) == 0;
    p.sum_units(
        held, [](index) { return R(0); }, [&](index t, index e) { return R(p.cell(t, e) > 0 ? 1 : 0); });
    bool all = true;
    for (index e = 0; e < l.E; ++e) all = all && p.of_expert(held, e) <= R(l.k);
    return all;
  }

  // Of units, while cells are chosen: the expert asked, E more once it is certain, -1 for none; what the unit loses
  // elsewhere, or against its first expert; what that is worth to it.  Of experts: whether they take units, how many
  // they are asked by beyond their part, cells they hold, their part.  The rows are those that Newton steps use
  // otherwise.
  enum { asked = detail::price_rows::used, margin = detail::price_rows::mean, first = detail::price_rows::potential };
  enum {
    takes = detail::price_rows::trial,
    surplus = detail::price_rows::excess,
    held = detail::price_rows::weight,
    part = detail::price_rows::residual
  };
  /// S - q of a cell.
  template <class Lines, class Prices>
  POLYMOE_HD static typename Lines::R worth(const Lines& l, const Prices& p, index t, index e) {
    return l.score(t, e) - p.of_expert(Prices::price, e);
  }
  /// Steps 2 and 3: the cells that may be used become 0, the others -1.  Returns whether there is a plan with both
  /// sums.
  template <class Lines, class Prices>
  POLYMOE_HD static bool choose_cells(const Lines& l, const Prices& p) {
    using R = typename Lines::R;
    phase::each(l.b, l.n, [&](index t) {
      for (index e = 0; e < l.E; ++e) l.a.plan.set(t, e, typename Lines::S(-1));
    });
    p.each_expert(held, [](index) { return R(0); });
    bool served = true;
    for (index round = 0; round < l.E; ++round) {
      // All finite units once, as evenly as it goes; or what room there is for.
      p.each_expert(part, [&](index e) {
        const index even = index{l.present} * (e + 1) / l.E - index{l.present} * e / l.E;
        const index room = (l.columns ? l.k : index{l.present} * l.k) - static_cast<index>(p.of_expert(held, e));
        return R(even < room ? even : room);
      });
      R places(0);
      for (index e = 0; e < l.E; ++e) places += p.of_expert(part, e);
      l.b.sync();
      const bool whole = places == R(l.present);
      if (round > 0 && !whole) p.each_expert(part, [&](index e) { return R(l.k) - p.of_expert(held, e); });
      const index taken = assign(l, p, round == 0, whole);
      if (round == 0) served = taken == l.present && link(l, p);
      if (taken == 0 || !whole || (!l.columns && round + 1 == l.k)) break;
    }
    fill(l, p);
    return served;
  }
  /// Every finite unit asks for one more expert; those asked by more than their part keep who loses most elsewhere (of
  /// whole rounds) or loses least against its first expert, and close; the others ask again.  Returns the units served.
  template <class Lines, class Prices>
  POLYMOE_HD static index assign(const Lines& l, const Prices& p, bool to_begin, bool whole) {
    using R = typename Lines::R;
    using key = typename Lines::key;
    const auto ask = [&](index t) {
      index best = -1;
      R most(0), next(0);
      int seen = 0;
      index have = 0;
      for (index e = 0; !l.columns && e < l.E; ++e) have += p.open(t, e);
      for (index e = 0; e < l.E && (l.columns || have < l.k); ++e) {
        if (!(p.of_expert(takes, e) > 0) || p.open(t, e)) continue;
        const R v = worth(l, p, t, e);
        if (seen == 0 || v > most)
          next = most, most = v, best = e;
        else if (seen == 1 || v > next)
          next = v;
        ++seen;
      }
      p.set_unit(asked, t, R(best));
      if (whole)
        p.set_unit(margin, t, seen > 1 ? most - next : R(0));
      else
        p.set_unit(margin, t, to_begin ? most : most - p.of_unit(first, t));
    };
    p.each_expert(takes, [](index) { return R(1); });
    phase::each(l.b, l.n, [&](index t) {
      if (l.a.bad[t])
        p.set_unit(asked, t, R(-1));
      else
        ask(t);
    });
    for (;;) {
      // The expert with the largest surplus closes.
      count_asked(l, p, [&](index e, R asking) { p.set_expert(surplus, e, asking - p.of_expert(part, e)); });
      index full = 0;
      for (index e = 1; e < l.E; ++e)
        if (p.of_expert(surplus, e) > p.of_expert(surplus, full)) full = e;
      if (!(p.of_expert(surplus, full) > 0)) break;
      phase::lines(l.b, 1, l.n, l.a.bins, [&](const auto& team, int* bins, index) {
        phase::select_first(
            team, static_cast<int>(l.n), static_cast<int>(p.of_expert(part, full)), bins,
            [&](int t) { return p.of_unit(asked, t) == R(full) ? descending_key(p.of_unit(margin, t)) : ~key(0); },
            [&](int t, int) { p.set_unit(asked, t, R(full + l.E)); });
        if (team.rank() == 0) p.set_expert(takes, full, R(0));
      });
      phase::each(l.b, l.n, [&](index t) {
        if (p.of_unit(asked, t) == R(full)) ask(t);
      });
    }
    const int served = phase::sum<int>(l.b, l.n, [&](index t) { return p.of_unit(asked, t) >= 0 ? 1 : 0; });
    phase::each(l.b, l.n, [&](index t) {
      const index x = static_cast<index>(p.of_unit(asked, t)), e = x >= l.E ? x - l.E : x;
      p.set_unit(asked, t, R(e));
      if (e >= 0) l.a.plan.set(t, e, typename Lines::S(0));
      if (to_begin) p.set_unit(first, t, e >= 0 ? worth(l, p, t, e) : R(0));
    });
    count_asked(l, p, [&](index e, R asking) { p.set_expert(held, e, p.of_expert(held, e) + asking); });
    return served;
  }
  /// Where E does not divide n: one cell more for an expert whose part, laid end to end with those before, ends inside
  /// a unit, namely at a unit of the next expert.  With these the parts can be cut where n / E cuts them.
  template <class Lines, class Prices>
  POLYMOE_HD static bool link(const Lines& l, const Prices& p) {
    using R = typename Lines::R;
    using key = typename Lines::key;
    if (!l.columns && l.k < detail::unit_cells(l.present, l.E)) return false;
    const auto cut = [&](index e) { return index{l.present} * (e + 1) % l.E != 0; };
    const auto full = [&](index e) { return l.columns && static_cast<index>(p.of_expert(held, e)) >= l.k; };
    bool all = true;
    for (index e = 0; e + 1 < l.E; ++e) all = all && !(cut(e) && full(e));
    l.b.sync();
    phase::lines(l.b, l.E - 1, l.n, l.a.bins, [&](const auto& team, int* bins, index e) {
      if (!cut(e) || full(e)) return;
      index next = e + 1;
      while (next + 1 < l.E && !(p.of_expert(part, next) > 0)) ++next;
      phase::select_first(
          team, static_cast<int>(l.n), 1, bins,
          [&](int t) {
            return p.of_unit(asked, t) == R(next) ? descending_key(worth(l, p, t, e) - p.of_unit(first, t)) : ~key(0);
          },
          [&](int t, int) { l.a.plan.set(t, e, typename Lines::S(0)); });
      if (team.rank() == 0) p.set_expert(held, e, p.of_expert(held, e) + R(1));
    });
    return all;
  }
  /// put(e, units that ask for e) for every expert.
  template <class Lines, class Prices, class Put>
  POLYMOE_HD static void count_asked(const Lines& l, const Prices& p, Put put) {
    l.count_units([&](index t) { return static_cast<index>(p.of_unit(asked, t)); }, put);
  }
  /// Lines that hold fewer than k cells yet take those that lose least.
  template <class Lines, class Prices>
  POLYMOE_HD static void fill(const Lines& l, const Prices& p) {
    using S = typename Lines::S;
    using key = typename Lines::key;
    if (!l.columns) {
      phase::each(l.b, l.n, [&](index t) {
        index have = 0;
        for (index e = 0; e < l.E; ++e) have += p.open(t, e);
        for (; !l.a.bad[t] && have < l.k; ++have) {
          index best = -1;
          for (index e = 0; e < l.E; ++e)
            if (!p.open(t, e) && (best < 0 || worth(l, p, t, e) > worth(l, p, t, best))) best = e;
          l.a.plan.set(t, best, S(0));
        }
      });
      return;
    }
    phase::lines(l.b, l.E, l.n, l.a.bins, [&](const auto& team, int* bins, index e) {
      const index have = static_cast<index>(p.of_expert(held, e));
      if (have >= l.k) return;
      phase::select_first(
          team, static_cast<int>(l.n), static_cast<int>(l.k - have), bins,
          [&](int t) {
            return l.a.bad[t] || p.open(t, e) ? ~key(0) : descending_key(worth(l, p, t, e) - p.of_unit(first, t));
          },
          [&](int t, int) { l.a.plan.set(t, e, S(0)); });
    });
  }
  /// Potentials for the prices at which cells are chosen.  Where experts pick, at most k cells of a column hold n / E,
  /// at the optimum of the semi-dual mostly in equal parts: a cell is taken once it is worth gamma (n / E) / k more
  /// than its price. A unit's potential is the least at which the cells taken come to a whole unit.
  template <class Lines, class Prices>
  POLYMOE_HD static void bound(const Lines& l, const Prices& p) {
    using R = typename Lines::R;
    const R part = l.share < R(l.k) ? l.gamma * l.share / R(l.k) : l.gamma;
    phase::each(l.b, l.most, [&](index i) {
      R x(0);
      if (!l.columns && i < l.E) x = -p.of_expert(Prices::price, i);
      if (l.columns && i < l.n && !l.a.bad[i]) {
        // Cells from the best on, equal ones by index.
        R sum(0), last(0);
        index last_at = -1;
        for (int taken = 0;;) {
          index best = -1;
          R top(0);
          for (index e = 0; e < l.E; ++e) {
            const R v = worth(l, p, i, e);
            const bool before = last_at >= 0 && (v > last || (v == last && e <= last_at));
            if (!before && (best < 0 || v > top)) top = v, best = e;
          }
          if (taken > 0) {
            const R whole = (l.gamma - sum) / R(taken);
            if (best < 0 || whole <= part - top) {
              x = whole;
              break;
            }
          }
          sum += top, last = top, last_at = best, ++taken;
          x = part - top;
          if (R(taken) * x + sum >= l.gamma) break;
        }
      }
      l.put(0, i, x);
    });
  }
  /// Lines exact, closed cells 0; `leave`: potentials of this plan where every solver leaves them.
  template <class Lines, class Prices>
  POLYMOE_HD static void finish(const Lines& l, const Prices& p, bool leave) {
    using R = typename Lines::R;
    if (l.columns) {
      if (leave) phase::each(l.b, l.n, [&](index t) { l.put(0, t, p.of_unit(Prices::potential, t)); });
      phase::lines(l.b, l.E, l.n, l.a.bins, [&](const auto& team, int*, index e) {
        const R scale = R(1) / (l.gamma * l.line_sum), nothing(-__builtin_inff());
        const auto put = [&](index t, R x) { l.a.plan.set(t, e, typename Lines::S(x)); };
        phase::each(team, l.n, [&](index t) {
          put(t, p.open(t, e) ? (p.of_unit(Prices::potential, t) + l.score(t, e)) * scale : nothing);
        });
        l.project(
            team, [&](index t) { return p.cell(t, e); }, put);
      });
    } else {
      if (leave) phase::each(l.b, l.E, [&](index e) { l.put(0, e, -p.of_expert(Prices::price, e)); });
      phase::each(l.b, l.n, [&](index t) {
        for (index e = 0; e < l.E; ++e)
          if (!(p.cell(t, e) > 0)) l.a.plan.set(t, e, typename Lines::S(0));
      });
    }
  }
};

}  // namespace solver
}  // namespace polymoe::score
