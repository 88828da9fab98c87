// expect: M015
// Activations of a type the library does not compute with.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using scalar = long double;
};
template class polymoe::layer<bad, polymoe::cpu>;
