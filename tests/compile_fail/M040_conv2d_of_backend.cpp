// expect: M040
// A module that convolves, on a backend without convolutions.
#include <polymoe/nn/conv2d.hpp>

struct backend {
  static constexpr bool convolves = false;
};
template class polymoe::nn::conv2d<float, backend>;
