// score::relu: p_e = max(z_e, 0)   (ReMoE, Wang et al. 2024, arXiv 2412.14711).  With positive<score::relu> a unit uses
// the experts whose score is not zero.
#pragma once

#include "../core/row.hpp"

namespace polymoe::inline v0::score {

struct relu {
  static constexpr const char* name = "relu";
  template <class Row>
  POLYMOE_HD Row forward(const Row& z) const {
    using S = typename Row::scalar;
    return z.map([](S x, int) { return x > S(0) ? x : S(0); });
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& dp) const {
    using S = typename Row::scalar;
    return z.zip(dp, [](S x, S d, int) { return x > S(0) ? d : S(0); });
  }
};

}  // namespace polymoe::score
