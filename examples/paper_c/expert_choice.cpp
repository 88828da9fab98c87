// Routers 3, 4 and 5: every expert takes its C best tokens, by softmax, by a Sinkhorn plan, by a sparse transport plan;
// and router 6, Soft MoE.
#include "layers.hpp"

namespace paper_c {
namespace {

template <class Score>
struct picked_spec : polymoe::spec {
  using router = polymoe::expert_choice<Score>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};
struct soft_spec : polymoe::spec {
  using router = polymoe::soft_slots<>;
  static constexpr int most_experts = 32;
};

}  // namespace

layer::config expert_choice(router which, int capacity, const layer_sizes& z) {
  const auto factor = [capacity](auto& c) { c.capacity.factor = static_cast<float>(capacity); };
  if (which == router::softmax_ec) return with<picked_spec<polymoe::score::noisy_constant<>>>(z, factor);
  if (which == router::sinkhorn_ec) return with<picked_spec<polymoe::score::sinkhorn<>>>(z, factor);
  return with<picked_spec<polymoe::score::sparse_transport<>>>(z, factor);
}

layer::config soft(int capacity, const layer_sizes& z) {
  return with<soft_spec>(z, [&](auto& c) {
    c.group_size = z.tokens;  // one image mixes with itself only
    c.router.slots = std::max<index>(1, (capacity * z.tokens + c.experts / 2) / c.experts);
  });
}

}  // namespace paper_c
