// expect: M037
// A backend without state for the prices of a transport plan.
#include <polymoe/polymoe.hpp>

struct backend {
  template <class T>
  static constexpr bool computes = true;
  static constexpr bool column_routers = true;
};
struct bad : polymoe::spec {
  using router =
      polymoe::top_k<2, polymoe::score::sparse_transport<polymoe::score::solver::newton, polymoe::score::by_score,
                                                         polymoe::score::start::last_step>>;
};
template class polymoe::layer<bad, backend>;
