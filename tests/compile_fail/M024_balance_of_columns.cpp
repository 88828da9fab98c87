// expect: M024
// The Switch loss for a router whose experts choose.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::expert_choice<>;
  using capacity = polymoe::capacity::bounded<>;
  using balance = polymoe::balance::switch_loss;
};
template class polymoe::layer<bad, polymoe::cpu>;
