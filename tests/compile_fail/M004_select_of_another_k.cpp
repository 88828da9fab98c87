// expect: M004
// A router with k = 2 whose select names 3 experts.
#include <polymoe/polymoe.hpp>

struct wrong_select {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<3> select(const Row& s) const {
    return polymoe::largest<3>(s);
  }
};
struct bad : polymoe::spec {
  using router = wrong_select;
};
template class polymoe::layer<bad, polymoe::cpu>;
