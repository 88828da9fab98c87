// expect: M013
// A capacity limit on a router that uses every expert.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::mixture<>;
  using capacity = polymoe::capacity::bounded<>;
};
template class polymoe::layer<bad, polymoe::cpu>;
