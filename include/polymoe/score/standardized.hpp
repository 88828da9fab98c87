// score::standardized<Inner>: every unit's logits get mean 0 and standard deviation 1 over the experts, before noise,
// temperature and Inner:
//
//   z_e <- (z_e - mean z) / (std z + epsilon),   std with E - 1 in its denominator
//
// The gate of paper B (arXiv 2601.15021) as its code has it; Shazeer 2017 has no such step.  With one expert, and for
// equal logits, the result is 0 (the code of paper B divides 0 by 0 at E = 1).
#pragma once

#include "noisy.hpp"

namespace polymoe::inline v0::score {

template <class Inner = softmax>
struct standardized : Inner {
  static constexpr const char* name = "standardized";
  float epsilon = 1e-5f;

  /// What the router works with in place of its logits.
  template <class Row>
  POLYMOE_HD Row prepare(const Row& z) const {
    using S = typename Row::scalar;
    const moments<S> m = moments_of(z);
    const S inverse = S(1) / (m.deviation + S(epsilon));
    return z.map([=](S x, int) { return (x - m.mean) * inverse; });
  }
  /// d_z from the gradient of prepare(z):
  /// (d - mean d) / (s + epsilon) - (z - mean z) <d, z - mean z> / ((E - 1) s (s + epsilon)^2).
  template <class Row>
  POLYMOE_HD Row prepare_vjp(const Row& z, const Row& d) const {
    using S = typename Row::scalar;
    const moments<S> m = moments_of(z);
    const S inverse = S(1) / (m.deviation + S(epsilon)), count(static_cast<float>(z.n));
    const S mean_d = d.sum() / count;
    S slope(0);
    if (value_of(m.deviation) > 0) {
      const S dot = z.zip(d, [=](S x, S g, int) { return (x - m.mean) * g; }).sum();
      slope = dot * inverse * inverse / ((count - S(1)) * m.deviation);
    }
    return z.zip(d, [=](S x, S g, int) { return (g - mean_d) * inverse - (x - m.mean) * slope; });
  }

 private:
  template <class S>
  struct moments {
    S mean, deviation;
  };
  template <class Row>
  POLYMOE_HD static moments<typename Row::scalar> moments_of(const Row& z) {
    using S = typename Row::scalar;
    const S count(static_cast<float>(z.n));
    const S mean = z.sum() / count;
    const S squares = z.sum([=](S x, int) { return (x - mean) * (x - mean); });
    // Not the root of 0, whose derivative is infinite.
    if (z.n < 2 || !(value_of(squares) > 0)) return {mean, S(0)};
    return {mean, math::sqrt(squares / (count - S(1)))};
  }
};

}  // namespace polymoe::score
