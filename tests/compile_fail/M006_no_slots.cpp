// expect: M006
// A capacity policy that does not say how many slots there are.
#include <polymoe/polymoe.hpp>

struct no_slots {
  static constexpr bool limited = true;
  using overflow_policy = polymoe::overflow::drop;
  using priority_policy = polymoe::priority::position;
};
struct bad : polymoe::spec {
  using capacity = no_slots;
};
template class polymoe::layer<bad, polymoe::cpu>;
