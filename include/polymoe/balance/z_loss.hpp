// balance::z_loss: mean over units of (logsumexp of the clean logits)^2   (ST-MoE, Zoph et al. 2022, arXiv 2202.08906).
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

struct z_loss {
  static constexpr const char* name = "z";
  static constexpr int columns = 1;  // only element 0 of the row is used
  float weight = 1e-4f;

  template <class Row>
  POLYMOE_HD static typename Row::scalar log_sum_exp(const Row& z) {
    using S = typename Row::scalar;
    const S m = z.max();
    return m + math::log(z.sum([=](S x, int) { return math::exp(x - m); }));
  }
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    const auto l = log_sum_exp(r.logits);
    acc[0].add_at(0, l * l);
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int, index units) const {
    return totals[0] / S(static_cast<float>(units));
  }
  template <class S>
  POLYMOE_HD void cotangent(const S*, int experts, index units, S* out) const {
    for (int e = 0; e < experts; ++e) out[e] = e == 0 ? S(1) / S(static_cast<float>(units)) : S(0);
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info& r, const Row* cot, Grad& g) const {
    using S = typename Info::scalar;
    const S l = log_sum_exp(r.logits);
    const S scale = S(2) * l * cot[0].at(0);
    g.logits.add(r.logits.map([=](S z, int) { return scale * math::exp(z - l); }));
  }
};

}  // namespace polymoe::balance
