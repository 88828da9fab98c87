// expect: M028
// A backend without convolutions for an expert that needs them.
#include <polymoe/polymoe.hpp>

struct backend {
  template <class T>
  static constexpr bool computes = true;
};
struct bad : polymoe::spec {
  using unit = polymoe::unit::feature_map;
  using expert = polymoe::expert::conv_block<>;
};
template class polymoe::layer<bad, backend>;
