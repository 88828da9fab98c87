// expect: M008
// A combine policy whose weigh is misspelt.
#include <polymoe/polymoe.hpp>

struct no_weigh {
  template <int K, class S>
  POLYMOE_HD void weight(const polymoe::chosen_scores<K, S>&, S*) const {}
  template <int K, class S>
  POLYMOE_HD void vjp(const polymoe::chosen_scores<K, S>&, const S*, S*) const {}
};
struct bad : polymoe::spec {
  using combine = no_weigh;
};
template class polymoe::layer<bad, polymoe::cpu>;
