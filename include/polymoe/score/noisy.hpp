// Noisy scores: Gaussian noise is added to the logits in training, before the inner score.
//
//   noisy_constant<Inner>  standard deviation s / E for every expert  (V-MoE, Riquelme et al. 2021, arXiv 2106.05974)
//   noisy_learned<Inner>   standard deviation softplus(x W_n), a second projection  (Shazeer et al. 2017, arXiv
//                          1701.06538, equation 4)
//
// The library draws the noise (counter stream of the layer), multiplies it by step_state::noise, and differentiates
// through the standard deviation; the policy only says how large it is.
#pragma once

#include "softmax.hpp"

namespace polymoe::inline v0::score {

template <class Inner = softmax>
struct noisy_constant : Inner {
  static constexpr const char* name = "noisy_constant";
  float scale = 1.0f;  ///< s; the deviation is s / E
  template <class Row>
  POLYMOE_HD Row noise_std(const Row& clean) const {
    using S = typename Row::scalar;
    return clean.filled(S(scale) / S(static_cast<float>(clean.n)));
  }
};

template <class Inner = softmax>
struct noisy_learned : Inner {
  static constexpr const char* name = "noisy_learned";
  static constexpr int projections = 2;  ///< the router matrix also makes the raw deviations
  float floor = 0.0f;                    ///< added to the deviation
  /// `raw` is the row of the second projection, x W_n.
  template <class Row>
  POLYMOE_HD Row noise_std(const Row& raw) const {
    using S = typename Row::scalar;
    const S least(floor);
    return raw.map([=](S x, int) { return math::softplus(x) + least; });
  }
  /// d_raw from the gradient of the deviation.
  template <class Row>
  POLYMOE_HD Row noise_vjp(const Row& raw, const Row& d_std) const {
    using S = typename Row::scalar;
    return raw.zip(d_std, [](S x, S d, int) { return math::sigmoid(x) * d; });
  }
};

}  // namespace polymoe::score
