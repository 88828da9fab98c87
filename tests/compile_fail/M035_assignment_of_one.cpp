// expect: M035
// Two experts a unit from an assignment that gives one.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::balanced_assignment<>>;
};
template class polymoe::layer<bad, polymoe::cpu>;
