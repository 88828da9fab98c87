// expect: M039
// Row scores without noise, of which the plan is made: the noise would do nothing.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<polymoe::score::sparse_transport<
                                       polymoe::score::solver::adam, polymoe::score::by_clean_score>>>;
};
template class polymoe::layer<bad, polymoe::cpu>;
