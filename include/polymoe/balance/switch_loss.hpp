// balance::switch_loss: E sum_e f_e P_e, f the share of choices that name expert e (before capacity, no gradient),
// P the mean score.  Switch Transformer (Fedus et al. 2021, arXiv 2101.03961), equations 4 to 6; for K > 1 the counts
// are divided by K, as Megatron-LM does.  Exactly 1 when both are uniform.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct switch_loss : detail::uniform_is_one {
  static constexpr const char* name = "switch";
  static constexpr bool needs_choice = true;
  float weight = 0.01f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    using S = typename Info::scalar;
    const S share = S(1) / S(static_cast<float>(r.chosen.n));
    for (int j = 0; j < r.chosen.n; ++j) acc[0].add_at(r.chosen.expert[j], share);
    acc[1].add(r.scores);
  }
};

}  // namespace polymoe::balance
