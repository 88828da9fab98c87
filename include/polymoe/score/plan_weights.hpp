// What gates of a score that plans groups are made of: the row scores, or the plan.
#pragma once

namespace polymoe::inline v0::score {

struct by_score {
  static constexpr bool weighs_plan = false;
};
struct by_plan {
  static constexpr bool weighs_plan = true;
};

}  // namespace polymoe::score
