// expect: M025
// A capacity for Soft MoE, which has slots.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::soft_slots<>;
  using capacity = polymoe::capacity::bounded<>;
};
template class polymoe::layer<bad, polymoe::cpu>;
