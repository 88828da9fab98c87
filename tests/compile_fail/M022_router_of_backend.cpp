// expect: M022
// A backend without kernels for routers that look down columns.
#include <polymoe/polymoe.hpp>

struct backend {
  template <class T>
  static constexpr bool computes = true;
};
struct bad : polymoe::spec {
  using router = polymoe::expert_choice<>;
};
template class polymoe::layer<bad, backend>;
