// expect: M014
// A load of a router that chooses nothing.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::mixture<polymoe::score::noisy_constant<>>;
  using balance = polymoe::balance::load;
};
template class polymoe::layer<bad, polymoe::cpu>;
