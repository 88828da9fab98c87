// expect: M017
// A router that mixes units and says nothing about its slots.
#include <polymoe/polymoe.hpp>

struct token_mixer {
  static constexpr int k = polymoe::mixed_into_slots;
};
struct bad : polymoe::spec {
  using router = token_mixer;
};
template class polymoe::layer<bad, polymoe::cpu>;
