// balance::gshard: E sum_e f_e P_e, f the share of units whose first choice is e (before capacity, no gradient), P the
// mean score.  GShard (Lepikhin 2020), algorithm 1, with V-MoE's factor E^2 (papers.md 5.2), so that it is exactly 1 when
// both are uniform.
//
// For K = 1 it is the Switch loss; for K > 1 that one counts all K choices.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct gshard {
  static constexpr const char* name = "gshard";
  static constexpr int columns = 2;
  static constexpr bool needs_choice = true;
  float weight = 0.01f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    using S = typename Info::scalar;
    acc[0].add_at(r.chosen.expert[0], S(1));
    acc[1].add(r.scores);
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int experts, index units) const {
    const S n(static_cast<float>(units));
    S s(0);
    for (int e = 0; e < experts; ++e) s += totals[e] / n * (totals[experts + e] / n);
    return s * S(static_cast<float>(experts));
  }
  template <class S>
  POLYMOE_HD void cotangent(const S* totals, int experts, index units, S* out) const {
    const S n(static_cast<float>(units)), E(static_cast<float>(experts));
    for (int e = 0; e < experts; ++e) {
      out[e] = S(0);
      out[experts + e] = E * totals[e] / (n * n);
    }
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row* cot, Grad& g) const {
    g.scores.add(cot[1]);
  }
};

}  // namespace polymoe::balance
