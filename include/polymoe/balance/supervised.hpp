// balance::supervised: cross-entropy of the router against a wanted expert per unit (Mobile V-MoE, paper D): the mean
// of -log softmax(z)_{target} over the units of a group that have a target, z the logits without noise and temperature;
// then, as for every loss, the mean over groups, where a group without any target counts as 0.
//
// Targets come with the call (context::targets, -1: none); `weight` is the paper's lambda.  A target that is no expert
// counts as none: routing::forward refuses it where the host can read it.
#pragma once

#include "z_loss.hpp"

namespace polymoe::inline v0::balance {

struct supervised {
  static constexpr const char* name = "supervised";
  static constexpr int columns = 2;  // element 0 of each: the sum of the losses, and how many units have a target
  static constexpr bool needs_target = true;
  float weight = 0.3f;

  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    using S = typename Info::scalar;
    if (!aimed(r)) return;
    acc[0].add_at(0, z_loss::log_sum_exp(r.logits) - r.logits.at(r.target));
    acc[1].add_at(0, S(1));
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int experts, index) const {
    return value_of(totals[experts]) > 0 ? totals[0] / totals[experts] : S(0);
  }
  template <class S>
  POLYMOE_HD void cotangent(const S* totals, int experts, index, S* out) const {
    for (int e = 0; e < 2 * experts; ++e) out[e] = S(0);
    if (value_of(totals[experts]) > 0) out[0] = S(1) / totals[experts];
  }
  /// d_z = softmax(z) - 1 at the target.
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info& r, const Row* cot, Grad& g) const {
    using S = typename Info::scalar;
    if (!aimed(r)) return;
    const S scale = cot[0].at(0), l = z_loss::log_sum_exp(r.logits);
    g.logits.add(r.logits.map([=](S z, int) { return scale * math::exp(z - l); }));
    g.logits.add_at(r.target, -scale);
  }

 private:
  template <class Info>
  POLYMOE_HD static bool aimed(const Info& r) {
    return r.target >= 0 && r.target < r.logits.n;
  }
};

}  // namespace polymoe::balance
