// expect: M011
// A classifier head whose overflow would be D columns of input.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::identity>;
};
template class polymoe::layer<bad, polymoe::cpu>;
