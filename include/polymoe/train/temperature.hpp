// Router temperature over a run: constant, linear or sigmoid descent to a least value, and a stop at an observed entropy.
//
// Paper A (papers.md 1.2): linear descent to 0.1 gave a peak and then a collapse of the routing; a sigmoid schedule, a
// floor of 0.3, or stopping at an entropy floor did not.  The shape is a pure function of the step; what was observed
// (where the descent stopped) is two numbers that belong into a checkpoint.
#pragma once

#include <algorithm>
#include <cmath>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

/// tau of every step.  step_state::temperature wants it before the step.
struct temperature_schedule {
  enum class shape { constant, linear, sigmoid };
  shape how = shape::constant;
  double start = 1.0;      ///< tau of step 0; positive
  double least = 0.3;      ///< tau_min, reached at step `total`; positive, at most `start`
  index total = 1;         ///< steps of the descent
  double steepness = 10;   ///< sigmoid only: how fast it falls around total / 2
  double entropy_floor = 0;///< below this mean entropy of the scores, in nats, the descent stops; 0: never

  /// tau of step `s`, s >= 0, had nothing been observed.
  double operator()(index s) const {
    validate();
    require(s >= 0, "temperature: step ", s, " is negative");
    const double t = std::min(1.0, static_cast<double>(s) / static_cast<double>(total));
    switch (how) {
      case shape::constant:
        return start;
      case shape::linear:
        return start + (least - start) * t;
      case shape::sigmoid:
        break;
    }
    // A logistic curve through exactly `start` at 0 and `least` at `total`.
    const auto curve = [&](double x) { return 1 / (1 + std::exp(steepness * (x - 0.5))); };
    return least + (start - least) * (curve(t) - curve(1)) / (curve(0) - curve(1));
  }
  void validate() const {
    require(std::isfinite(start) && least > 0 && least <= start, "temperature: it goes from ", start, " to ", least,
            ", both must be positive and the second at most the first");
    require(total >= 1, "temperature: ", total, " steps, at least 1 is needed");
    require(how != shape::sigmoid || (steepness >= 1e-3 && steepness <= 200), "temperature: steepness is ",
            steepness, ", it must be in [0.001, 200]");
    require(entropy_floor >= 0, "temperature: entropy_floor is ", entropy_floor, ", it must not be negative");
  }
};

/// A schedule that stops falling once the routing has become decided enough.
class temperature_annealing {
 public:
  temperature_annealing() = default;
  explicit temperature_annealing(const temperature_schedule& s) : schedule_(s) { s.validate(); }

  const temperature_schedule& schedule() const { return schedule_; }
  double operator()(index step) const {
    const double tau = schedule_(step);
    return held_ > 0 ? std::max(tau, held_) : tau;
  }
  /// Tells the mean entropy of the scores (routing_stats::entropy) of training step `step`.  The first one below the floor
  /// holds the temperature of that step for the rest of the run.
  void observe(index step, double entropy) {
    if (held_ > 0 || !(schedule_.entropy_floor > 0) || !(entropy < schedule_.entropy_floor)) return;
    held_ = (*this)(step), held_at_ = step;
  }
  /// The temperature at which the descent stopped, and the step; 0 and -1 while it has not.
  double held() const { return held_; }
  index held_at() const { return held_at_; }
  /// From a checkpoint.
  void restore(double held, index at) {
    require(held == 0 || (held >= schedule_.least && held <= schedule_.start), "temperature: the checkpoint held ", held,
            ", the schedule goes from ", schedule_.start, " to ", schedule_.least);
    held_ = held, held_at_ = at;
  }

 private:
  temperature_schedule schedule_{};
  double held_ = 0;
  index held_at_ = -1;
};

}  // namespace polymoe
