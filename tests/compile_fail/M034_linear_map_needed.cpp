// expect: M034
// A bias for the logits of Soft MoE, which are products with slots.
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {
  using router = polymoe::with_bias<polymoe::soft_slots<>>;
};
template class polymoe::layer<bad, polymoe::cpu>;
