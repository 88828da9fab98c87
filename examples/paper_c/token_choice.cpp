// Routers 1 and 2: every token takes its K best experts, by softmax or by a Sinkhorn plan.
#include "layers.hpp"

namespace paper_c {
namespace {

template <int K>
struct softmax_spec : polymoe::spec {
  using router = polymoe::top_k<K, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};
template <int K>
struct sinkhorn_spec : polymoe::spec {
  using router = polymoe::top_k<K, polymoe::score::sinkhorn<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};

}  // namespace

layer::config token_choice(router which, int capacity, const layer_sizes& z) {
  const auto exact = [](auto& c) { c.capacity.factor = 1.0f; };
  if (which == router::sinkhorn_tc)
    return capacity == 1 ? with<sinkhorn_spec<1>>(z, exact) : with<sinkhorn_spec<2>>(z, exact);
  return capacity == 1 ? with<softmax_spec<1>>(z, exact) : with<softmax_spec<2>>(z, exact);
}

}  // namespace paper_c
