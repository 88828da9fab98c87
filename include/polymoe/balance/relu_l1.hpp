// balance::relu_l1: ReMoE's regulariser, which makes ReLU scores sparse and spreads them, with a coefficient that
// adapts:
//
//   E / K sum_e f_e P_e,  f_e the share of units with a positive score (no gradient), P_e the mean score
//
// times `weight` times the coefficient, which is state: it starts at `first` and is multiplied by `step` in each commit
// where fewer than a share 1 - K/E of the scores was zero since the last one, and divided by it otherwise.
// ReMoE (Wang et al. 2024, arXiv 2412.14711), as its code has it: thu-ml/ReMoE,
// megatron/core/transformer/moe/router.py.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct relu_l1 : detail::count_times_score {
  static constexpr const char* name = "relu_l1";
  static constexpr bool adapts = true;
  float weight = 1;
  float target = 2;     ///< K: experts a unit should use in the mean
  float first = 1e-8f;  ///< of the coefficient
  float step = 1.2f;
  float coefficient = 0;  ///< set by the library in each call

  void validate(int) const {
    require(target > 0 && math::is_finite(target), "relu_l1: target is ", target,
            " experts a unit, it must be positive");
    require(first > 0 && math::is_finite(first), "relu_l1: the first coefficient is ", first, ", it must be positive");
    require(step >= 1 && math::is_finite(step), "relu_l1: step is ", step, ", it must be at least 1: it multiplies");
  }
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    using S = typename Info::scalar;
    acc[0].add(r.scores.map([](S p, int) { return p > S(0) ? S(1) : S(0); }));
    acc[1].add(r.scores);
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int experts, index units) const {
    return scaled_value(totals, experts, units, scale<S>(experts));
  }
  template <class S>
  POLYMOE_HD void cotangent(const S* totals, int experts, index units, S* out) const {
    scaled_cotangent(totals, experts, units, scale<S>(experts), out);
  }
  /// The next coefficient from the mean share of scores that were positive.
  POLYMOE_HD float adapted(float now, double active, int experts) const {
    return 1 - active < 1 - static_cast<double>(target) / experts ? now * step : now / step;
  }

 private:
  template <class S>
  POLYMOE_HD S scale(int experts) const {
    return S(coefficient) * S(static_cast<float>(experts)) / S(target);
  }
};

}  // namespace polymoe::balance
