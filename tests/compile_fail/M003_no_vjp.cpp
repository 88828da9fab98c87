// expect: M003
// A router whose vjp is misspelt.
#include <polymoe/polymoe.hpp>

struct no_vjp {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vpj(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<2> select(const Row& s) const {
    return polymoe::largest<2>(s);
  }
};
struct bad : polymoe::spec {
  using router = no_vjp;
};
template class polymoe::layer<bad, polymoe::cpu>;
