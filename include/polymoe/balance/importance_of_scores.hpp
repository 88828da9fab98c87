// balance::importance_of_scores: CV^2 of I_e = sum_t p_{t,e} of the scores that the gates are made of, noise included.
//
// What the code of paper B ("Mixture-of-Experts Models in Vision", arXiv 2601.15021; moe-project-uu,
// heads/sparse_moe.py) computes for its sparse head, twice: once under the name importance and once under the name
// load, 0.2 each, hence the weight 0.4 here.  With score::largest_softmax the sum runs over the gates that its code
// sums.  balance::importance is the published form, on clean scores.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct importance_of_scores : detail::squared_cv_loss {
  static constexpr const char* name = "importance_of_scores";
  float weight = 0.4f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    acc[0].add(r.scores);
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row* cot, Grad& g) const {
    g.scores.add(cot[0]);
  }
};

}  // namespace polymoe::balance
