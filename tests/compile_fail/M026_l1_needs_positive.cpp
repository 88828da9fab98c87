// expect: M026
// The ReLU regulariser for a router with a fixed number of experts.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::top_k<2>;
  using balance = polymoe::balance::relu_l1;
};
template class polymoe::layer<bad, polymoe::cpu>;
