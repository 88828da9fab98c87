// score::softmax: p_e = exp(z_e) / sum_i exp(z_i)   (Shazeer 2017; V-MoE; paper C 3.2).
//
// A score policy has two members: forward(logits) -> scores, and vjp(logits, d_scores) -> d_logits.
#pragma once

#include "../core/row.hpp"

namespace polymoe::inline v0::score {

namespace detail {
/// p (d_p - <p, d_p>): back through any softmax whose result is p, over all or some of the experts.
template <class Row>
POLYMOE_HD Row softmax_vjp(const Row& p, const Row& dp) {
  using S = typename Row::scalar;
  const S dot = p.zip(dp, [](S a, S b, int) { return a * b; }).sum();
  return p.zip(dp, [=](S a, S b, int) { return a * (b - dot); });
}
}  // namespace detail

struct softmax {
  static constexpr const char* name = "softmax";
  template <class Row>
  POLYMOE_HD Row forward(const Row& z) const {
    using S = typename Row::scalar;
    const S m = z.max();
    Row e = z.map([=](S x, int) { return math::exp(x - m); });
    const S inverse = S(1) / e.sum();
    return e.map([=](S x, int) { return x * inverse; });
  }
  /// d_z = p (d_p - <p, d_p>).
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& dp) const {
    return detail::softmax_vjp(forward(z), dp);
  }
};

}  // namespace polymoe::score
