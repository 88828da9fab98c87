// expect: M021
// A backend without kernels for the layer's numbers.
#include <polymoe/polymoe.hpp>

struct backend {
  template <class T>
  static constexpr bool computes = !polymoe::is_dual<T>;
};
struct bad : polymoe::spec {
  using scalar = polymoe::dual<float>;
};
template class polymoe::layer<bad, backend>;
