// balance::loss_free_bias: no loss; a bias per expert is added to the scores for the selection only, and after each
// optimiser step b_e += rate * sign(mean load - load_e)   (DeepSeek-V3, arXiv 2412.19437, equations 12 to 20).
//
// The bias and the load accumulators are state: forward in training only adds to the accumulators, `commit` changes the
// bias once per step, evaluation changes nothing.  The gate is the score without bias.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct loss_free_bias : none {
  static constexpr const char* name = "loss_free_bias";
  static constexpr bool has_bias = true;
  float rate = 0.001f;

  void validate(int) const {
    require(rate >= 0 && math::is_finite(rate), "loss_free_bias: rate is ", rate,
            ", it must be finite and not negative");
  }
};

}  // namespace polymoe::balance
