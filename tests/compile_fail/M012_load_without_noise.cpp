// expect: M012
// The smooth load of a router without noise.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};
template class polymoe::layer<bad, polymoe::cpu>;
