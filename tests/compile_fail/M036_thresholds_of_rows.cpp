// expect: M036
// Experts that would take every unit in training: there is nothing to learn a threshold from.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::strictly_balanced<>;
};
template class polymoe::layer<bad, polymoe::cpu>;
