// expect: M018
// A second projection that nothing trains.
#include <polymoe/polymoe.hpp>

struct half_a_noise : polymoe::top_k<2> {
  static constexpr int projections = 2;
  template <class Row>
  POLYMOE_HD Row noise_std(const Row& raw) const {
    return raw;
  }
};
struct bad : polymoe::spec {
  using router = half_a_noise;
};
template class polymoe::layer<bad, polymoe::cpu>;
