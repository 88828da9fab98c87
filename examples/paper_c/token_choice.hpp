// Routers 1 and 2: every token takes its K best experts, by softmax or by a Sinkhorn plan; the weights of the second
// are softmax, or the plan.
#pragma once

#include "layers.hpp"

namespace paper_c {
namespace {

template <class T, int K>
struct softmax_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<K, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};
template <class T, int K, class Weights>
struct sinkhorn_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<K, polymoe::score::sinkhorn<Weights>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};

}  // namespace

template <class T, class B>
typename layer<T, B>::config token_choice(router which, int capacity, const layer_sizes& z) {
  const auto exact = [](auto& c) { c.capacity.factor = 1.0f; };
  using polymoe::score::by_plan, polymoe::score::by_score;
  if (which == router::sinkhorn_tc)
    return capacity == 1 ? with<sinkhorn_spec<T, 1, by_score>, B>(z, exact)
                         : with<sinkhorn_spec<T, 2, by_score>, B>(z, exact);
  if (which == router::sinkhorn_plan_tc)
    return capacity == 1 ? with<sinkhorn_spec<T, 1, by_plan>, B>(z, exact)
                         : with<sinkhorn_spec<T, 2, by_plan>, B>(z, exact);
  return capacity == 1 ? with<softmax_spec<T, 1>, B>(z, exact) : with<softmax_spec<T, 2>, B>(z, exact);
}

}  // namespace paper_c
