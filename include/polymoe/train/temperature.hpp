// Router temperature over a run: constant, linear or sigmoid descent to a least value, and a stop at an observed
// entropy.
//
// Paper A ("When Does Sparse MoE Help in Vision?", arXiv 2605.15484): linear descent to 0.1 gave a peak and then a
// collapse of the routing; a sigmoid schedule, a floor of 0.3, or stopping at an entropy floor did not.  The shape is a
// pure function of the step; what was observed (where the descent stopped) is two numbers that belong into a
// checkpoint.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

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
  index entropy_lag = 32;  ///< in a trainer: at step s the entropy of step s - entropy_lag is looked at

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
    require(entropy_lag >= 1 && entropy_lag <= 65536, "temperature: entropy_lag is ", entropy_lag,
            ", it must lie in [1, 65536]");
  }
  /// In words, for what has to be equal between a run and its checkpoint.
  std::string text() const {
    std::ostringstream text;
    text.precision(17);
    text << "temperature " << static_cast<int>(how) << " from " << start << " to " << least << " in " << total
         << " steps, steepness " << steepness << ", entropy floor " << entropy_floor << ", lag " << entropy_lag;
    return text.str();
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
  /// Tells the mean entropy of the scores (routing_stats::entropy) of training step `step`.  The first one below the
  /// floor holds the temperature of that step for the rest of the run.
  void observe(index step, double entropy) {
    if (held_ > 0 || !(schedule_.entropy_floor > 0) || !(entropy < schedule_.entropy_floor)) return;
    held_ = (*this)(step), held_at_ = step;
  }
  /// The temperature at which the descent stopped, and the step; 0 and -1 while it has not.
  double held() const { return held_; }
  index held_at() const { return held_at_; }
  /// From a checkpoint.
  void restore(double held, index at) {
    require(held == 0 || (held >= schedule_.least && held <= schedule_.start), "temperature: the checkpoint held ",
            held, ", the schedule goes from ", schedule_.start, " to ", schedule_.least);
    held_ = held, held_at_ = at;
  }

 private:
  temperature_schedule schedule_{};
  double held_ = 0;
  index held_at_ = -1;
};

/// The same for a loop that starts steps before it has read what earlier ones did: the entropy of step s is looked at
/// when step s + entropy_lag begins, however many steps were read in between, so that the temperature of a step never
/// depends on when the host looked, nor on where a run was interrupted.
class temperature_control {
 public:
  explicit temperature_control(const temperature_schedule& s) : annealing_(s) {
    if (s.entropy_floor > 0)
      entropy_.assign(static_cast<std::size_t>(s.entropy_lag), std::numeric_limits<double>::quiet_NaN());
  }
  /// Steps that may be started before record() is told of the first of them; 0: any number.
  index ahead() const { return static_cast<index>(entropy_.size()); }
  /// tau of `step`, every step before `step` - entropy_lag + 1 having been recorded.
  double operator()(index step) {
    if (!entropy_.empty() && step >= lag()) annealing_.observe(step - lag(), entropy_[slot(step)]);
    return at(step);
  }
  /// tau of a step that has begun before.
  double at(index step) const {
    const bool stopped = annealing_.held() > 0 && annealing_.held_at() + lag() <= step;
    return stopped ? annealing_(step) : annealing_.schedule()(step);
  }
  /// Tells the mean entropy of a step that was done; steps come in order.
  void record(index step, double entropy) {
    if (!entropy_.empty()) entropy_[slot(step)] = entropy;
  }
  const temperature_annealing& annealing() const { return annealing_; }

  /// What a checkpoint has to keep: where the descent stopped, and the entropies not yet looked at.  Empty without a
  /// floor.
  std::vector<double> packed() const {
    if (entropy_.empty()) return {};
    std::vector<double> v{annealing_.held(), static_cast<double>(annealing_.held_at())};
    v.insert(v.end(), entropy_.begin(), entropy_.end());
    return v;
  }
  void restore(const std::vector<double>& v) {
    require(v.size() == packed().size(), "temperature: the checkpoint has ", v.size(), " numbers, the schedule keeps ",
            packed().size());
    if (v.empty()) return;
    require(v[1] >= -1 && v[1] < 9007199254740992.0 && v[1] == std::floor(v[1]),
            "temperature: the checkpoint stopped at step ", v[1]);
    annealing_.restore(v[0], static_cast<index>(v[1]));
    entropy_.assign(v.begin() + 2, v.end());
  }

 private:
  index lag() const { return annealing_.schedule().entropy_lag; }
  std::size_t slot(index step) const { return static_cast<std::size_t>(step % lag()); }

  temperature_annealing annealing_;
  std::vector<double> entropy_;  ///< [entropy_lag] of step s at s % entropy_lag; empty without a floor
};

}  // namespace polymoe
