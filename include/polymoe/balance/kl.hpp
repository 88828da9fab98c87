// Kullback-Leibler balance losses between the mean score vector p (normalised to sum 1 for score functions that are
// not) and the uniform distribution u = 1/E:
//   kl_from_uniform  KL(u || p) = sum_e u (log u - log p_e)
//   kl_as_coded      KL(u || p) / E                              what paper B's code computes: its kl_div takes the
//                                                                experts for the batch and divides by their number
//   kl_to_uniform    KL(p || u) = sum_e p_e log(p_e E)           what paper B's text says
// p is kept above 1e-8; below that the gradient is zero.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

namespace detail {
/// With PerExpert the loss is divided by E.
template <bool FromUniform, bool PerExpert = false>
struct kl_form {
  static constexpr int columns = 1;
  float weight = 0.2f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    acc[0].add(r.scores);
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int experts, index) const {
    const S E(static_cast<float>(experts));
    S all(0), s(0);
    for (int e = 0; e < experts; ++e) all += totals[e];
    for (int e = 0; e < experts; ++e) {
      const S p = clamped(totals[e] / all);
      s += FromUniform ? -math::log(p * E) / E : p * math::log(p * E);
    }
    return PerExpert ? s / E : s;
  }
  template <class S>
  POLYMOE_HD void cotangent(const S* totals, int experts, index, S* out) const {
    const S E(static_cast<float>(experts));
    S all(0), dot(0);
    for (int e = 0; e < experts; ++e) all += totals[e];
    for (int e = 0; e < experts; ++e) {
      const S p = totals[e] / all;
      const bool low = value_of(p) < 1e-8f;
      out[e] = low ? S(0) : (FromUniform ? S(-1) / (E * p) : math::log(p * E) + S(1));
      dot += out[e] * p;
    }
    const S over = PerExpert ? all * E : all;
    for (int e = 0; e < experts; ++e) out[e] = (out[e] - dot) / over;
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row* cot, Grad& g) const {
    g.scores.add(cot[0]);
  }

 private:
  template <class S>
  POLYMOE_HD static S clamped(S p) {
    return value_of(p) < 1e-8f ? S(1e-8f) : p;
  }
};
}  // namespace detail

struct kl_from_uniform : detail::kl_form<true> {
  static constexpr const char* name = "kl_from_uniform";
};
struct kl_as_coded : detail::kl_form<true, true> {
  static constexpr const char* name = "kl_as_coded";
};
struct kl_to_uniform : detail::kl_form<false> {
  static constexpr const char* name = "kl_to_uniform";
};

}  // namespace polymoe::balance
