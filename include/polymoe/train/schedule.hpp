// Learning-rate schedules with linear warm-up: pure functions of the step, so that a resumed run needs no state.
//
// In warm-up step s (from 0) gives peak * (s + 1) / warmup; the schedule proper begins at step `warmup`.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

struct learning_rate_schedule {
  enum class shape { constant, linear, cosine, steps };
  shape how = shape::cosine;
  double peak = 1e-3;
  index total = 1;                  ///< steps of the run
  index warmup = 0;                 ///< steps of linear warm-up
  double floor = 0.0;               ///< linear and cosine end here (reached at step `total`)
  std::vector<index> milestones{};  ///< steps: at each of these the rate is multiplied by gamma
  double gamma = 0.1;

  /// Learning rate of step `s`, s >= 0; beyond `total` it stays at its last value.
  double operator()(index s) const {
    require(s >= 0 && total >= 1 && warmup >= 0, "schedule: step ", s, " of ", total, " with ", warmup,
            " steps of warm-up");
    if (s < warmup) return peak * static_cast<double>(s + 1) / static_cast<double>(warmup);
    const index span = total - warmup;
    const double t = span <= 0 ? 1.0 : std::min(1.0, static_cast<double>(s - warmup) / static_cast<double>(span));
    switch (how) {
      case shape::constant:
        return peak;
      case shape::linear:
        return peak + (floor - peak) * t;
      case shape::cosine:
        return floor + (peak - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * t));
      case shape::steps:
        break;
    }
    double rate = peak;
    for (const index m : milestones)
      if (s >= m) rate *= gamma;
    return rate;
  }
};

}  // namespace polymoe
