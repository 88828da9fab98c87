// expect: M019
// An expert policy that names no module.
#include <polymoe/polymoe.hpp>

struct no_module {
  static constexpr bool head_of_classes = false;
};
struct bad : polymoe::spec {
  using expert = no_module;
};
template class polymoe::layer<bad, polymoe::cpu>;
