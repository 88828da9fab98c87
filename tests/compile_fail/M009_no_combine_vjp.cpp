// expect: M009
// A combine policy without a gradient.
#include <polymoe/polymoe.hpp>

struct no_combine_vjp {
  template <int K, class S>
  POLYMOE_HD void weigh(const polymoe::chosen_scores<K, S>& c, S* w) const {
    for (int j = 0; j < c.n; ++j) w[j] = c.score[j];
  }
};
struct bad : polymoe::spec {
  using combine = no_combine_vjp;
};
template class polymoe::layer<bad, polymoe::cpu>;
