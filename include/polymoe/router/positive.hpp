// positive<Score>: a unit uses every expert whose score is above zero, none or all of them   (ReMoE, Wang et al. 2024,
// arXiv 2412.14711).
//
// The number of experts follows the scores; balance::relu_l1 steers it to K in the mean.  With a bounded capacity,
// asked with k = 1, an expert serves its C best such units and drops the others.  The plan is that of experts that
// pick: lists.
#pragma once

#include "../score/relu.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

template <class Score = score::relu>
struct positive : detail::scored<picked_by_experts, Score> {
  static constexpr bool positive_only = true;
};

}  // namespace polymoe
