// expect: M027
// An expert that takes no save policy, in a spec with one.
#include <polymoe/polymoe.hpp>

struct my_expert {
  static constexpr bool head_of_classes = false;
  template <class T, class Backend>
  using module = polymoe::expert::mlp<>::module<T, Backend>;
};
struct bad : polymoe::spec {
  using expert = my_expert;
  using save = polymoe::save::pre_activation;
};
template class polymoe::layer<bad, polymoe::cpu>;
