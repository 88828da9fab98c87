// expect: M005
// A router that takes no expert.
#include <polymoe/polymoe.hpp>

struct k_zero {
  static constexpr int k = 0;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
};
struct bad : polymoe::spec {
  using router = k_zero;
};
template class polymoe::layer<bad, polymoe::cpu>;
