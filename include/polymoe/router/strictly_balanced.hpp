// strictly_balanced<Score>: in training every expert takes its m best units of a group, in evaluation every unit takes
// the experts whose score is above their threshold, which training learned   (Shazeer et al. 2017, appendix F, eq.
// 15-20).
//
//   training     M_batch(X, m): the m largest of each column, m = C from the capacity asked with K = 1, so that its
//                `factor` is the k of m = k n / E
//   evaluation   M_threshold(x, T)_e = 1 where x_e > T_e: an output no longer depends on who else is in the batch
//   learning     L = sum_t sum_e (M_threshold - M_batch)_te (X_te - T_e), which is never negative, and 0 where both
//                masks agree; dL / dT_e = picked_e - above_e
//
// L teaches the thresholds only, divided by the number of finite units: after each optimiser step T_e moves by
// `threshold_rate` (above_e - picked_e) / n, the mean over the training calls of the step.  Thresholds are state, as
// the bias of balance::loss_free_bias is: `state.router.threshold [E]` and the sums of the unfinished step,
// `state.router.threshold_gap [E + 1]`, in every checkpoint, and never touched by evaluation.
//
// With combine::renormalised<combine::over_kept> gates are those of the paper, normalised over the experts of a unit.
// The plan is that of experts that pick: lists.  In evaluation an expert serves its C best units above the threshold, C
// of eval_factor; eval_factor = E lets it serve all.
#pragma once

#include "../core/error.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

/// A router whose experts pick by rank in training and by learned thresholds in evaluation.
template <class Router>
inline constexpr bool learns_thresholds = requires { requires bool(Router::thresholds); };

template <class Score = score::softmax>
struct strictly_balanced : detail::scored<picked_by_experts, Score> {
  static constexpr bool thresholds = true;
  float threshold_rate = 0.01f;   ///< learning rate of the thresholds
  float first_threshold = 0.0f;

  void validate() const {
    require(threshold_rate >= 0 && first_threshold - first_threshold == 0,
            "strictly_balanced: threshold_rate is ", threshold_rate, " and first_threshold ", first_threshold,
            ", the first must not be negative, the second finite");
    if constexpr (requires(const Score s) { s.validate(); }) Score::validate();
  }
};

}  // namespace polymoe
