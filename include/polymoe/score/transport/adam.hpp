// score::solver::adam: potentials of a transport plan by steps of Adam on the semi-dual, as V-MoE's code has it
// (google-research/vmoe, ksparse_projection_routing.py).
//
// Lines are exact after every step, the other sums are right when it has converged; twenty steps leave them far from
// it.
#pragma once

#include "lines.hpp"

namespace polymoe::inline v0::score::solver {

struct adam {
  static constexpr const char* solver_name = "adam";
  static constexpr bool differentiable = false;  ///< whether its plan has a derivative that by_plan can use

  int iterations = 20;
  float learning_rate = 1e-2f;

  void validate() const {
    detail::check_steps(iterations);
    require(learning_rate > 0, "sparse_transport: learning_rate is ", learning_rate, ", it must be positive");
  }
  /// alpha and Adam's two moments, the lines.
  index kept(index units, index experts) const {
    return 3 * (units > experts ? units : experts) + detail::transport_kept(units, experts, true);
  }

  /// Fills the plan from the potentials in the first row of what is kept.  Returns the steps made.
  template <class Lines>
  POLYMOE_HD int solve(const Lines& l) const {
    using R = typename Lines::R;
    enum { alpha, first, second };
    phase::each(l.b, l.most, [&](index i) { l.put(first, i, R(0)), l.put(second, i, R(0)); });
    l.begin(alpha);
    R decay1(1), decay2(1);
    for (int step = 0;; ++step) {
      l.project_all(alpha);
      if (step == iterations || l.present == 0) break;
      decay1 *= R(0.9f), decay2 *= R(0.999f);
      l.across([&](index i, R sum) {
        const R d = sum - l.wanted;
        l.put(first, i, R(0.9f) * l.number(first, i) + (R(1) - R(0.9f)) * d);
        l.put(second, i, R(0.999f) * l.number(second, i) + (R(1) - R(0.999f)) * d * d);
        const R mean = l.number(first, i) / (R(1) - decay1), square = l.number(second, i) / (R(1) - decay2);
        l.put(alpha, i, l.number(alpha, i) - R(learning_rate) * mean / (math::sqrt(square) + R(1e-8f)));
      });
    }
    l.leave_prices(alpha);
    l.write_plan();
    return iterations;
  }
};

}  // namespace polymoe::score::solver
