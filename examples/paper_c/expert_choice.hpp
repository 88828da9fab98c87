// Routers 3, 4 and 5: every expert takes its C best tokens, by softmax, by a Sinkhorn plan, by a sparse transport plan;
// and router 6, Soft MoE.
#pragma once

#include "layers.hpp"

namespace paper_c {
namespace {

template <class T, class Score>
struct picked_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::expert_choice<Score>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};
template <class T>
struct soft_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::soft_slots<>;
  static constexpr int most_experts = 32;
};

}  // namespace

template <class T, class B>
typename layer<T, B>::config expert_choice(router which, double capacity, const layer_sizes& z) {
  const auto factor = [capacity](auto& c) { c.capacity.factor = static_cast<float>(capacity); };
  if (which == router::softmax_ec) return with<picked_spec<T, polymoe::score::noisy_constant<>>, B>(z, factor);
  if (which == router::sinkhorn_ec) return with<picked_spec<T, polymoe::score::sinkhorn<>>, B>(z, factor);
  return with<picked_spec<T, polymoe::score::sparse_transport<>>, B>(z, factor);
}

template <class T, class B>
typename layer<T, B>::config soft(double capacity, const layer_sizes& z) {
  return with<soft_spec<T>, B>(z, [&](auto& c) {
    c.group_size = z.tokens;  // one image mixes with itself only
    c.router.slots = 0, c.router.factor = static_cast<float>(capacity);
  });
}

}  // namespace paper_c
