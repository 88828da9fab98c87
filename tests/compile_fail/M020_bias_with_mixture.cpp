// expect: M020
// A selection bias for a router that selects nothing.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::mixture<>;
  using balance = polymoe::balance::loss_free_bias;
};
template class polymoe::layer<bad, polymoe::cpu>;
