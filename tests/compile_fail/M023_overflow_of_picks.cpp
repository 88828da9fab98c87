// expect: M023
// A fallback expert for units that overflow, where none does.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::expert_choice<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::fallback>;
};
template class polymoe::layer<bad, polymoe::cpu>;
