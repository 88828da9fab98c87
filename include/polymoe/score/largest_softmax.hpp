// score::largest_softmax<K>: softmax over the logits that are not below the K-th largest; 0 for the others.
//
// The sparse gate of paper B (arXiv 2601.15021) as its code has it: the threshold keeps every expert that ties with the
// K-th, so more than K scores may be above zero while a top_k<K> router serves K of them; the weight of the others is
// lost.  Without ties it is softmax with weights renormalised over the chosen.
#pragma once

#include "softmax.hpp"

namespace polymoe::inline v0::score {

template <int K>
struct largest_softmax {
  static_assert(K >= 1, "polymoe: score::largest_softmax<K> keeps at least one expert");
  static constexpr const char* name = "largest_softmax";
  template <class Row>
  POLYMOE_HD Row forward(const Row& z) const {
    using S = typename Row::scalar;
    const choice<K> top = largest<K>(z);
    const S m = z.at(top.expert[0]), least = z.at(top.expert[top.n - 1]);
    Row e = z.map([=](S x, int) { return value_of(x) < value_of(least) ? S(0) : math::exp(x - m); });
    const S inverse = S(1) / e.sum();
    return e.map([=](S x, int) { return x * inverse; });
  }
  /// d_z = p (d_p - <p, d_p>): zero for experts below the threshold.
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& dp) const {
    return detail::softmax_vjp(forward(z), dp);
  }
};

}  // namespace polymoe::score
