// balance::switch_loss: E sum_e f_e P_e, f the share of choices that name expert e (before capacity, no gradient),
// P the mean score.  Switch Transformer eq. 4-6; for K > 1 the counts are divided by K (papers.md 5.3).  Exactly 1 when
// both are uniform.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct switch_loss {
  static constexpr const char* name = "switch";
  static constexpr int columns = 2;
  static constexpr bool needs_choice = true;
  float weight = 0.01f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    using S = typename Info::scalar;
    const S share = S(1) / S(static_cast<float>(r.chosen.n));
    for (int j = 0; j < r.chosen.n; ++j) acc[0].add_at(r.chosen.expert[j], share);
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
