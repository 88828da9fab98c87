// What gates of a score that plans groups are made of: the row scores, with or without the noise, or the plan.
#pragma once

namespace polymoe::inline v0::score {

struct by_score {
  static constexpr bool weighs_plan = false, weighs_clean = false;
};
/// The scores of the clean logits, while the plan is made of the noisy ones (V-MoE's code for Sinkhorn Token Choice).
struct by_clean_score {
  static constexpr bool weighs_plan = false, weighs_clean = true;
};
struct by_plan {
  static constexpr bool weighs_plan = true, weighs_clean = false;
};

}  // namespace polymoe::score
