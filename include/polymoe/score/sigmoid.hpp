// score::sigmoid: p_e = 1 / (1 + exp(-z_e)), each expert on its own   (DeepSeek-V3 eq. 12-15).
#pragma once

#include "../core/row.hpp"

namespace polymoe::inline v0::score {

struct sigmoid {
  static constexpr const char* name = "sigmoid";
  template <class Row>
  POLYMOE_HD Row forward(const Row& z) const {
    return z.map([](typename Row::scalar x, int) { return math::sigmoid(x); });
  }
  /// d_z = p (1 - p) d_p.
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& dp) const {
    using S = typename Row::scalar;
    return forward(z).zip(dp, [](S p, S d, int) { return p * (S(1) - p) * d; });
  }
};

}  // namespace polymoe::score
