// expect: M007
// A capacity policy that does not say what overflow does.
#include <polymoe/polymoe.hpp>

struct no_overflow {
  static constexpr bool limited = true;
  constexpr polymoe::index slots(const polymoe::capacity_query& q) const { return q.tokens; }
};
struct bad : polymoe::spec {
  using capacity = no_overflow;
};
template class polymoe::layer<bad, polymoe::cpu>;
