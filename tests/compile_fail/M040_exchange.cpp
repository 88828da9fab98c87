// expect: M040
// An exchange that no layer would call.
#include <polymoe/polymoe.hpp>

struct over_mpi {
  static constexpr const char* name = "over_mpi";
};
struct bad : polymoe::spec {
  using exchange = over_mpi;
};
template class polymoe::layer<bad, polymoe::cpu>;
