// expect: M010
// A classifier head that silently drops images.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
};
template class polymoe::layer<bad, polymoe::cpu>;
