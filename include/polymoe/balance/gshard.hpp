// balance::gshard: E sum_e f_e P_e, f the share of units whose first choice is e (before capacity, no gradient), P the
// mean score.  GShard (Lepikhin et al. 2020, arXiv 2006.16668), algorithm 1, with the factor E^2 of V-MoE's code
// (google-research/vmoe, nn/routing.py), so that it is exactly 1 when both are uniform.
//
// For K = 1 it is the Switch loss; for K > 1 that one counts all K choices.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct gshard : detail::uniform_is_one {
  static constexpr const char* name = "gshard";
  static constexpr bool needs_choice = true;
  float weight = 0.01f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    using S = typename Info::scalar;
    acc[0].add_at(r.chosen.expert[0], S(1));
    acc[1].add(r.scores);
  }
};

}  // namespace polymoe::balance
