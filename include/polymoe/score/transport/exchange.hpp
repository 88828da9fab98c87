// Other cells for a plan with few non-zeros, where it is worth more with them: step 5 of solver::newton (newton.hpp).
//
// At the prices q and potentials alpha of a plan on given cells, x_te = S_te - q_e + alpha_t is what a cell is worth:
// gamma P_te where it is used, at most 0 where it is open for nothing.  A line would do better at these prices with a
// closed cell of larger x in place of its open cell of least x, 0 at the least.  Prices rise where many come, so not
// all of them do: a trial exchanges the quarter with most to gain, solves again from these prices, and is undone where
// sums are not right or the objective has not risen; then a quarter of the quarter is tried, and so on, down to one.  A
// plan is never worth less than it was.
//
// Where units choose, a unit exchanges one of its own cells.  Where experts pick, a unit comes to the column that it
// gains most in and leaves the column that it gains least in, and a column lets as many leave as come; one exchange
// alone is the best of any column.  Who has no other cell stays.
#pragma once

#include "prices.hpp"

namespace polymoe::inline v0::score::detail {

template <class Lines>
struct cell_exchange {
  using R = typename Lines::R;
  using S = typename Lines::S;
  using key = typename Lines::key;
  using prices = transport_prices<Lines>;
  /// Of units: the expert whose cell comes, that whose goes, -1 for none; what it gains.  Of experts: prices, those
  /// before the trial; the least worth of an open cell, the exchanges there could be, what the first of them gains.
  enum { came = prices::came, went = prices::went, gain = prices::mean };
  enum {
    price = prices::price,
    last = prices::last,
    floor = prices::weight,
    moves = prices::trial,
    best = prices::residual
  };
  static constexpr int steps = 6;  ///< of a trial, at most: without a plan there is no end

  const Lines& l;
  const prices& p;

  /// At most `trials` that promise more than `worthwhile` of the scores' spread a unit; a plan's sums are right to
  /// `tolerance` of n / E, or to what the digits allow.  Returns the steps made.
  POLYMOE_HD int run(int trials, R worthwhile, R tolerance) const {
    R most(0), below = R(__builtin_inff());
    int done = 0;
    const R size = spread(), least = R(rounding) * size;
    const R digits = sizeof(R) == 4 ? R(1e-5f) : R(1e-12);
    const R right = tolerance > digits ? tolerance : digits;
    for (int level = 1, trial = 0; trial < trials; ++trial) {
      const int cells = propose(level, least, below);
      if (cells == 0 || !(promise() > worthwhile * size * R(l.present))) break;
      if (trial == 0) most = value();  // not before: often there is nothing to exchange
      change(went, came);
      p.each_expert(last, [&](index e) { return p.of_expert(price, e); });
      done += p.balance(l.gamma, tolerance, steps);
      const R now = value();
      if (p.off() <= right && now - most > least * R(l.present)) {
        most = now, below = R(__builtin_inff());
        continue;
      }
      change(came, went);
      p.each_expert(price, [&](index e) { return p.of_expert(last, e); });
      p.evaluate(price, l.gamma);
      if (cells == 1)
        below = phase::max<R>(l.b, l.n, [&](index t) { return p.of_unit(came, t) >= 0 ? p.of_unit(gain, t) : R(0); });
      ++level;
    }
    return done;
  }

 private:
  /// What counts as a gain, a unit, as a share of the spread: more than float's rounding, for double too, so that both
  /// choose alike.
  static constexpr float rounding = 1e-6f;

  /// The mean over units of their largest score less their smallest: scores have a size, but no zero.
  POLYMOE_HD R spread() const {
    return l.total(l.n, [&](index t) {
      if (l.a.bad[t]) return R(0);
      R high = l.score(t, 0), low = high;
      for (index e = 1; e < l.E; ++e) {
        const R s = l.score(t, e);
        high = s > high ? s : high, low = s < low ? s : low;
      }
      return high - low;
    }) / R(l.present);
  }
  /// The most that the exchanges in the rows `came` and `went` can be worth.
  POLYMOE_HD R promise() const {
    const auto square = [&](int row, index t) {
      const R x = p.of_unit(row, t) >= 0 ? reduced(t, static_cast<index>(p.of_unit(row, t))) : R(0);
      return x > 0 ? x * x : R(0);
    };
    return l.total(l.n, [&](index t) { return square(came, t) - square(went, t); }) / (R(2) * l.gamma);
  }

  /// <P, S> - (gamma / 2) |P|^2.
  POLYMOE_HD R value() const {
    return l.total(l.n, [&](index t) {
      R sum(0);
      for (index e = 0; e < l.E; ++e)
        if (const R x = p.cell(t, e); x > 0) sum += x * (l.score(t, e) - l.gamma / R(2) * x);
      return sum;
    });
  }
  /// x_te: what is left of a score at both prices.
  POLYMOE_HD R reduced(index t, index e) const {
    return l.score(t, e) - p.of_expert(price, e) + p.of_unit(prices::potential, t);
  }
  POLYMOE_HD bool is(int row, index t, index e) const { return p.of_unit(row, t) == R(e); }
  /// Closes every unit's cell in the row `out`, opens that in the row `in`.
  POLYMOE_HD void change(int out, int in) const {
    phase::each(l.b, l.n, [&](index t) {
      if (p.of_unit(out, t) >= 0) l.a.plan.set(t, static_cast<index>(p.of_unit(out, t)), S(-1));
      if (p.of_unit(in, t) >= 0) l.a.plan.set(t, static_cast<index>(p.of_unit(in, t)), S(0));
    });
  }
  /// Of `all` exchanges those to try at this level, a quarter of those at the one before; at least one where `one`.
  POLYMOE_HD static int share_of(int all, int level, bool one) {
    const int some = level < 16 ? all >> (2 * level) : 0;
    return some == 0 && one && all > 0 ? 1 : some;
  }

  /// Fills the rows `came` and `went` with exchanges that gain more than `least` and less than `below`: how many.
  POLYMOE_HD int propose(int level, R least, R below) const {
    return l.columns ? propose_columns(level, least, below) : propose_rows(level, least, below);
  }

  POLYMOE_HD int propose_rows(int level, R least, R below) const {
    phase::each(l.b, l.n, [&](index t) {
      index in = -1, out = -1;
      R top(0), low(0);
      for (index e = 0; !l.a.bad[t] && e < l.E; ++e) {
        const R x = reduced(t, e);
        if (p.open(t, e)) {
          if (out < 0 || x < low) out = e, low = x;
        } else if (in < 0 || x > top) {
          in = e, top = x;
        }
      }
      const R more = in < 0 || out < 0 ? R(0) : top - (low > 0 ? low : R(0));
      const bool pays = more > least && more < below;
      p.set_unit(came, t, R(pays ? in : -1)), p.set_unit(went, t, R(pays ? out : -1)), p.set_unit(gain, t, more);
    });
    const int all = phase::sum<int>(l.b, l.n, [&](index t) { return p.of_unit(came, t) >= 0 ? 1 : 0; });
    const int most = share_of(all, level, true);
    if (most < all)
      phase::lines(l.b, 1, l.n, l.a.bins, [&](const auto& team, int* bins, index) {
        phase::select_first(
            team, static_cast<int>(l.n), most, bins,
            [&](int t) { return p.of_unit(came, t) >= 0 ? descending_key(p.of_unit(gain, t)) : ~key(0); },
            [](int, int) {},
            [&](int t) { p.set_unit(came, t, R(-1)), p.set_unit(went, t, R(-1)); });
      });
    return most;
  }

  POLYMOE_HD int propose_columns(int level, R least, R below) const {
    phase::lines(l.b, l.E, l.n, l.a.bins, [&](const auto& team, int*, index e) {
      const R low = -phase::max<R>(
          team, l.n, [&](index t) { return !l.a.bad[t] && p.open(t, e) ? -reduced(t, e) : R(-__builtin_inff()); });
      if (team.rank() == 0) p.set_expert(floor, e, low > 0 ? low : R(0));
    });
    phase::each(l.b, l.n, [&](index t) {
      index in = -1, out = -1;
      R top(0), low(0);
      int used = 0;
      for (index e = 0; !l.a.bad[t] && e < l.E; ++e) {
        const R more = reduced(t, e) - p.of_expert(floor, e);
        if (p.open(t, e)) {
          used += p.cell(t, e) > 0;
          if (out < 0 || more < low) out = e, low = more;
        } else if (in < 0 || more > top) {
          in = e, top = more;
        }
      }
      if (!(in >= 0 && top > least && top < below)) in = -1;
      if (out >= 0 && used < 2 && p.cell(t, out) > 0) out = -1;
      p.set_unit(came, t, R(in)), p.set_unit(went, t, R(out)), p.set_unit(gain, t, top);
    });
    // As many as may both come and leave, and what the first of them gains.
    phase::lines(l.b, l.E, l.n, l.a.bins, [&](const auto& team, int*, index e) {
      const int in = phase::sum<int>(team, l.n, [&](index t) { return is(came, t, e) ? 1 : 0; });
      const int out = phase::sum<int>(team, l.n, [&](index t) { return is(went, t, e) ? 1 : 0; });
      const R more = phase::max<R>(team, l.n, [&](index t) { return is(came, t, e) ? p.of_unit(gain, t) : R(0); });
      if (team.rank() == 0) p.set_expert(moves, e, R(in < out ? in : out)), p.set_expert(best, e, more);
    });
    index first = -1;
    for (index e = 0; e < l.E; ++e)
      if (p.of_expert(moves, e) > 0 && (first < 0 || p.of_expert(best, e) > p.of_expert(best, first))) first = e;
    const auto moved = [&](index e) { return share_of(static_cast<int>(p.of_expert(moves, e)), level, e == first); };
    int all = 0;
    for (index e = 0; e < l.E; ++e) all += moved(e);
    if (all < 2) return propose_swap(least, below);
    phase::lines(l.b, l.E, l.n, l.a.bins, [&](const auto& team, int* bins, index e) {
      const auto keep = [&](int row, auto order) {
        phase::select_first(
            team, static_cast<int>(l.n), moved(e), bins,
            [&](int t) { return is(row, t, e) ? descending_key(order(t)) : ~key(0); }, [](int, int) {},
            [&](int t) {
              if (is(row, t, e)) p.set_unit(row, t, R(-1));
            });
      };
      keep(came, [&](int t) { return p.of_unit(gain, t); });
      keep(went, [&](int t) { return -reduced(t, e); });
    });
    return all;
  }

  /// The one exchange of two units in a column that gains most.
  POLYMOE_HD int propose_swap(R least, R below) const {
    const R none(-__builtin_inff());
    const auto may_leave = [&](index t, index e) {
      return !l.a.bad[t] && p.open(t, e) && (p.of_unit(prices::used, t) > 1 || !(p.cell(t, e) > 0));
    };
    const auto gained = [&](index t, index e, R leaves) {
      const R more = l.a.bad[t] || p.open(t, e) ? none : reduced(t, e) - leaves;
      return more > least && more < below ? more : none;
    };
    phase::lines(l.b, l.E, l.n, l.a.bins, [&](const auto& team, int*, index e) {
      const R low = -phase::max<R>(team, l.n, [&](index t) { return may_leave(t, e) ? -reduced(t, e) : none; });
      const R leaves = low > 0 ? low : R(0);
      const R more = low < -none ? phase::max<R>(team, l.n, [&](index t) { return gained(t, e, leaves); }) : none;
      if (team.rank() == 0) p.set_expert(floor, e, leaves), p.set_expert(best, e, more);
    });
    index at = -1;
    for (index e = 0; e < l.E; ++e)
      if (p.of_expert(best, e) > (at < 0 ? none : p.of_expert(best, at))) at = e;
    phase::each(l.b, l.n, [&](index t) { p.set_unit(came, t, R(-1)), p.set_unit(went, t, R(-1)); });
    if (at < 0) return 0;
    phase::lines(l.b, 1, l.n, l.a.bins, [&](const auto& team, int* bins, index) {
      const auto first = [&](int row, auto order) {
        phase::select_first(
            team, static_cast<int>(l.n), 1, bins,
            [&](int t) {
              const R x = order(t);
              return x > none ? descending_key(x) : ~key(0);
            },
            [&](int t, int) { p.set_unit(row, t, R(at)); });
      };
      first(came, [&](int t) { return gained(t, at, p.of_expert(floor, at)); });
      first(went, [&](int t) { return may_leave(t, at) ? -reduced(t, at) : none; });
    });
    phase::each(l.b, l.n, [&](index t) { p.set_unit(gain, t, p.of_expert(best, at)); });
    return 1;
  }
};

}  // namespace polymoe::score::detail
