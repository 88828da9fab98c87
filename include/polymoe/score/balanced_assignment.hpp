// score::balanced_assignment<Inner>: every expert of a group gets floor(n / E) or ceil(n / E) of its n finite units,
// every unit one expert, and the sum of the scaled logits of the chosen is as large as that allows   (BASE, Lewis et
// al. 2021).
//
// The assignment carries no gradient and no weight: gates are the inner score (BASE: the sigmoid), as in fairseq's
// base_layer.py.
//
// Solved by an auction with similar objects (Bertsekas and Castanon 1989).  An expert has c = ceil(n / E) slots, each
// with a price; the price of the expert is that of its cheapest slot.  In a round every unit without a slot bids for
// the expert e that is worth most to it, z_te - price_e, and pays so much that the second best, or any within epsilon,
// would be as good:
//
//   bid = price_e + (best - second best) + epsilon
//
// and each expert keeps the c highest of its owners and bidders, lower index first among equals.  Where E does not
// divide n, E - n mod E stand-ins worth 0 to everybody fill the slots that stay empty, at most one in an expert.
// Prices only rise.  When everybody has a slot, the sum is within (n + E / 2) epsilon of the largest.  Epsilon falls by
// 4 from phase to phase, each of which begins with the prices of the one before; the last is `tolerance` times the
// largest spread of a unit's logits.
//
// Nothing but comparisons, and sums of two numbers, is computed: any number of threads finds the same assignment.
// Experts decide side by side, each by a team of threads: a bidder stands with one expert, whose team alone writes of
// it.
//
// Use: top_k<1, score::balanced_assignment<>>.
#pragma once

#include "../core/block.hpp"
#include "../core/error.hpp"
#include "../router/group_plan.hpp"
#include "../router/order_key.hpp"
#include "sigmoid.hpp"

namespace polymoe::inline v0::score {

template <class Inner = sigmoid>
struct balanced_assignment : Inner {
  static constexpr const char* name = "balanced_assignment";
  using group_plan = void;
  static constexpr bool weighs_plan = false;
  static constexpr bool assigns_one = true;  ///< a router of one expert a unit is needed

  float tolerance = 1e-3f;        ///< the last epsilon, a share of the largest spread of logits
  int rounds = 100000;            ///< of bidding in a group, at most; units left over take the free slots in order
  bool greedy_evaluation = true;  ///< in evaluation every unit takes its largest logit, as in BASE

  void validate() const {
    require(tolerance >= 1e-5f && tolerance <= 1, "balanced_assignment: tolerance is ", tolerance,
            ", it must lie in [1e-5, 1]");
    require(rounds >= 0, "balanced_assignment: rounds is ", rounds, ", it must not be negative");
  }
  /// Four numbers of each unit and stand-in, and four of each expert.
  index kept(index units, index experts) const { return 4 * (units + experts) + 4 * experts; }

  template <class Block, class Cells>
  POLYMOE_HD void plan_group(const Block& b, const Cells& a) const {
    if (!a.training && greedy_evaluation) return choose_largest(b, a);
    const auction<Block, Cells> market(b, a);
    const int done = market.run(tolerance, rounds);
    if (b.rank() == 0) *a.steps = done;
    market.write_plan();
  }

 private:
  /// 1 at the largest logit of each unit, lowest index among equals.
  template <class Block, class Cells>
  POLYMOE_HD void choose_largest(const Block& b, const Cells& a) const {
    using S = std::remove_cvref_t<decltype(a.scaled(0, 0))>;
    phase::each(b, a.units(), [&](index t) {
      index best = 0;
      for (index e = 1; e < a.experts(); ++e)
        if (value_of(a.scaled(t, e)) > value_of(a.scaled(t, best))) best = e;
      for (index e = 0; e < a.experts(); ++e) a.plan.set(t, e, S(e == best && !a.bad[t] ? 1 : 0));
    });
    if (b.rank() == 0) *a.steps = 0;
  }

  /// The bidders are the units, then the stand-ins: 0 .. n - 1, n .. n + m - 1.
  template <class Block, class Cells>
  class auction {
    using S = std::remove_cvref_t<decltype(std::declval<Cells>().scaled(0, 0))>;
    using R = decltype(value_of(S(0)));
    using U = decltype(descending_key(R(0)));
    static constexpr int nobody = -1;
    static constexpr int outside = 0, inside = 1, accepted = 2, rejected = 3;  ///< how a bidder stands with its expert
    static constexpr int few = 4;  ///< up to so many bidders too many are looked for one by one
    static constexpr R largest = R(1e30f), no_stand_in = R(3e38f);
    static constexpr R least_share = sizeof(R) == 4 ? R(0x1p-21f) : R(0x1p-50);

   public:
    POLYMOE_HD auction(const Block& block, const Cells& cells)
        : b(block), a(cells), n(static_cast<int>(cells.units())), E(static_cast<int>(cells.experts())) {
      present = phase::sum<int>(b, n, [&](index t) { return a.bad[t] ? 0 : 1; });
      const int extra = present % E;
      slots = present / E + (extra ? 1 : 0);
      stand_ins = extra ? E - extra : 0;
      bidders = n + stand_ins;
    }

    /// Returns the number of rounds.
    POLYMOE_HD int run(float tolerance, int most) const {
      const R spread = phase::max<R>(b, n, [&](index t) {
        R high = -largest, low = largest;
        for (int e = 0; e < E && !a.bad[t]; ++e) {
          const R z = logit(t, e);
          if (z > high) high = z;
          if (z < low) low = z;
        }
        put(3, static_cast<int>(t), high);
        return high - low;  // of a bad unit below any other
      });
      // Equal logits: any epsilon.
      const R last = spread > 0 ? R(tolerance) * spread : R(1);
      phase::each(b, E, [&](index e) { set_least(static_cast<int>(e), R(0)); });
      int round = 0;
      for (R epsilon = spread > 0 ? spread / R(4) : last;; epsilon /= R(4)) {
        if (epsilon < last) epsilon = last;
        open();
        while (idle() > 0) {
          if (round == most) {
            if (b.rank() == 0) settle();
            b.sync();
            return round;
          }
          ++round;
          bid(epsilon);
          phase::lines(b, E, bidders, a.bins, [&](const auto& team, int* bins, index e) {
            if (asked(static_cast<int>(e))) decide(team, bins, static_cast<int>(e));
          });
        }
        if (!(epsilon > last)) return round;
      }
    }
    POLYMOE_HD void write_plan() const {
      phase::each(b, n, [&](index t) {
        for (int e = 0; e < E; ++e) a.plan.set(t, e, S(!a.bad[t] && owner(static_cast<int>(t)) == e ? 1 : 0));
      });
    }

   private:
    const Block& b;
    const Cells& a;
    int n, E, present = 0, slots = 0, stand_ins = 0, bidders = 0;

    // Numbers of bidder i: the expert it has a slot of or asks for, which of the two, the price, and its largest logit.
    // Of expert e: its price, its price when the phase began, what its stand-in pays, and whether somebody asks for it.
    POLYMOE_HD R number(int row, int i) const { return value_of(a.kept.get(0, index{row} * (n + E) + i)); }
    POLYMOE_HD void put(int row, int i, R x) const { a.kept.set(0, index{row} * (n + E) + i, S(x)); }
    POLYMOE_HD R of_expert(int row, int e) const { return value_of(a.kept.get(0, index{4} * (n + E) + row * E + e)); }
    POLYMOE_HD void put_expert(int row, int e, R x) const { a.kept.set(0, index{4} * (n + E) + row * E + e, S(x)); }

    POLYMOE_HD int expert(int i) const { return static_cast<int>(number(0, i)); }
    POLYMOE_HD int standing(int i) const { return static_cast<int>(number(1, i)); }
    POLYMOE_HD void stand(int i, int how) const { put(1, i, R(how)); }
    POLYMOE_HD void give_slot(int i, int e) const { put(0, i, R(e)), stand(i, inside); }
    POLYMOE_HD int owner(int i) const { return standing(i) == inside ? expert(i) : nobody; }
    POLYMOE_HD R price(int i) const { return number(2, i); }
    POLYMOE_HD void set_price(int i, R x) const { put(2, i, x); }
    POLYMOE_HD R least(int e) const { return of_expert(0, e); }
    POLYMOE_HD void set_least(int e, R x) const { put_expert(0, e, x); }
    POLYMOE_HD R start(int e) const { return of_expert(1, e); }
    POLYMOE_HD R stand_in(int e) const { return of_expert(2, e); }
    POLYMOE_HD bool asked(int e) const { return of_expert(3, e) != 0; }

    POLYMOE_HD bool waits(int i) const { return standing(i) != inside && !(i < n && a.bad[i]); }
    /// Scaled logits may overflow where scores do not.
    POLYMOE_HD R logit(index t, index e) const {
      const R z = value_of(a.scaled(t, e));
      return z > largest ? largest : (z < -largest ? -largest : z);
    }
    /// What expert e is worth to bidder i, before its price: relative to its best, beside which a price would be lost.
    POLYMOE_HD R worth(int i, int e) const { return i < n ? logit(i, e) - number(3, i) : R(0); }
    POLYMOE_HD R cost(int i, int e) const {
      return i >= n && stand_in(e) < no_stand_in ? stand_in(e) : least(e);
    }

    /// A phase begins: prices stay, the stand-ins sit in the cheapest experts, everybody else is out.
    POLYMOE_HD void open() const {
      phase::each(b, E, [&](index e) { put_expert(1, static_cast<int>(e), least(static_cast<int>(e))); });
      phase::each(b, bidders, [&](index i) {
        put(0, static_cast<int>(i), R(nobody)), stand(static_cast<int>(i), outside);
        set_price(static_cast<int>(i), R(0));
      });
      phase::each(b, E, [&](index at) {
        const int e = static_cast<int>(at);
        int before = 0;
        for (int f = 0; f < E; ++f) before += start(f) < start(e) || (start(f) == start(e) && f < e);
        put_expert(2, e, before < stand_ins ? start(e) : no_stand_in);
        if (before < stand_ins) give_slot(n + before, e), set_price(n + before, start(e));
      });
    }
    POLYMOE_HD int idle() const {
      return phase::sum<int>(b, bidders, [&](index i) { return waits(static_cast<int>(i)) ? 1 : 0; });
    }
    POLYMOE_HD void bid(R epsilon) const {
      phase::each(b, E, [&](index e) { put_expert(3, static_cast<int>(e), R(0)); });
      phase::each(b, bidders, [&](index at) {
        const int i = static_cast<int>(at);
        if (!waits(i)) return;
        int best = 0;
        R first = worth(i, 0) - cost(i, 0), second = -no_stand_in;
        for (int e = 1; e < E; ++e) {
          const R net = worth(i, e) - cost(i, e);
          if (net > first)
            second = first, first = net, best = e;
          else if (net > second)
            second = net;
        }
        put(0, i, R(best));
        // A bid has to be above the price, also where that is so high that epsilon is lost in it.
        const R price_now = cost(i, best), tiny = (price_now < 0 ? -price_now : price_now) * least_share;
        set_price(i, price_now + (E > 1 ? first - second : R(0)) + (epsilon > tiny ? epsilon : tiny));
        put_expert(3, best, R(1));  // by whoever asks, always the same number
      });
    }
    /// Marks the candidate with the lowest price, of equal ones the last.
    template <class Team, class Counts>
    POLYMOE_HD void reject_worst(const Team& team, const Counts& counts) const {
      R lowest = no_stand_in;
      int at = nobody;
      for (int i = team.rank(); i < bidders; i += team.width())
        if (counts(i) && standing(i) != rejected && price(i) <= lowest) lowest = price(i), at = i;
      const R of_all = -team.max(-lowest);
      at = team.max(at != nobody && lowest == of_all ? at : nobody);
      if (team.rank() == 0) stand(at, rejected);
      team.sync();
    }
    /// The owners and bidders of expert e who get its slots.
    template <class Team>
    POLYMOE_HD void decide(const Team& team, int* bins, int e) const {
      const auto candidate = [&](int i) { return expert(i) == e; };
      // Of the stand-ins one at most: the highest bid, the first among equals.
      int chosen = nobody;
      if (stand_ins > 0) {
        const auto price_of = [&](int i) { return candidate(i) ? price(i) : -no_stand_in; };
        const R top = phase::max<R>(team, stand_ins, [&](index i) { return price_of(n + static_cast<int>(i)); });
        if (top > -no_stand_in) {
          const int last = phase::max<R>(team, stand_ins, [&](index i) {
            return price_of(n + static_cast<int>(i)) == top ? R(stand_ins - i) : R(0);
          });
          chosen = n + stand_ins - last;
        }
      }
      const auto counts = [&](int i) { return candidate(i) && (i < n || i == chosen); };
      int held = 0;
      for (int i = team.rank(); i < bidders; i += team.width()) held += counts(i);
      held = team.sum(held);
      const int surplus = held - slots;
      if (surplus > few) {
        phase::select_first(
            team, bidders, slots, bins, [&](int i) { return counts(i) ? descending_key(price(i)) : ~U(0); },
            [&](int i, int) { stand(i, accepted); });
      } else {
        for (int k = 0; k < surplus; ++k) reject_worst(team, counts);
      }
      // One pass, each thread over its own bidders: who has a slot now, and the cheapest of them.
      R cheapest = no_stand_in;
      for (int i = team.rank(); i < bidders; i += team.width()) {
        if (!candidate(i)) continue;
        const bool in = surplus > few ? standing(i) == accepted : counts(i) && standing(i) != rejected;
        stand(i, in ? inside : outside);
        if (in && price(i) < cheapest) cheapest = price(i);
      }
      cheapest = -team.max(-cheapest);
      team.sync();  // the standing of the chosen stand-in is another thread's
      if (team.rank() == 0) {
        set_least(e, held < slots ? start(e) : cheapest);
        put_expert(2, e, chosen != nobody && standing(chosen) == inside ? price(chosen) : no_stand_in);
      }
    }
    /// No rounds left, one thread: experts beyond the number that may be full give up their cheapest unit, then every
    /// unit without a slot takes the best free one, in order.
    POLYMOE_HD void settle() const {
      const int whole = present / E, full_ones = present % E;
      const auto held = [&](int e) { return of_expert(1, e); };
      for (int e = 0; e < E; ++e) put_expert(1, e, R(0));
      for (int t = 0; t < n; ++t)
        if (owner(t) != nobody) put_expert(1, owner(t), held(owner(t)) + R(1));
      int full = 0;
      for (int e = 0; e < E; ++e) full += held(e) > R(whole);
      for (int e = 0; e < E && full > full_ones; ++e) {
        if (!(held(e) > R(whole))) continue;
        int out = nobody;
        for (int t = 0; t < n; ++t)
          if (owner(t) == e && (out == nobody || price(t) < price(out))) out = t;
        stand(out, outside), put_expert(1, e, held(e) - R(1)), --full;
      }
      for (int t = 0; t < n; ++t) {
        if (!waits(t)) continue;
        int best = nobody;
        for (int e = 0; e < E; ++e) {
          const bool free = held(e) < R(whole) || (held(e) < R(whole + 1) && full < full_ones);
          if (free && (best == nobody || worth(t, e) > worth(t, best))) best = e;
        }
        full += !(held(best) < R(whole));
        give_slot(t, best), put_expert(1, best, held(best) + R(1));
      }
    }
  };
};

}  // namespace polymoe::score
