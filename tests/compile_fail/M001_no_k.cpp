// expect: M001
// A router without k.
#include <polymoe/polymoe.hpp>

struct no_k {
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
  using router = no_k;
};
template class polymoe::layer<bad, polymoe::cpu>;
