// expect: M029
// Tokens one by one have no neighbours to convolve with.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using expert = polymoe::expert::depthwise_block<>;
};
template class polymoe::layer<bad, polymoe::cpu>;
