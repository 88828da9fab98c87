// balance::importance: CV^2 of the summed scores, I_e = sum_t p_{t,e} of the clean logits.
//
// Shazeer et al. 2017 (arXiv 1701.06538), equations 6 and 7; V-MoE (Riquelme et al. 2021, arXiv 2106.05974) uses the
// clean softmax, population variance, per group.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct importance : detail::squared_cv_loss {
  static constexpr const char* name = "importance";
  static constexpr bool needs_clean_scores = true;
  float weight = 0.005f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    acc[0].add(r.clean_scores);
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row* cot, Grad& g) const {
    g.clean_scores.add(cot[0]);
  }
};

}  // namespace polymoe::balance
