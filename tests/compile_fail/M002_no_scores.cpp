// expect: M002
// A router whose scores is misspelt.
#include <polymoe/polymoe.hpp>

struct no_scores {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row score(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<2> select(const Row& s) const {
    return polymoe::largest<2>(s);
  }
};
struct bad : polymoe::spec {
  using router = no_scores;
};
template class polymoe::layer<bad, polymoe::cpu>;
