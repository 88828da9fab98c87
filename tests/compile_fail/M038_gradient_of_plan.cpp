// expect: M038
// Gates of a plan that is not solved, so that it has no derivative to go back through.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router =
      polymoe::top_k<2, polymoe::score::sparse_transport<polymoe::score::solver::adam, polymoe::score::by_plan>>;
};
template class polymoe::layer<bad, polymoe::cpu>;
