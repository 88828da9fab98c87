// Experts in the classifier head.
#pragma once

#include <polymoe/polymoe.hpp>

#include "paper_a.hpp"

namespace paper_a {
namespace {

template <class T, class Router, class Balance = polymoe::balance::none, class Capacity = polymoe::capacity::unlimited>
struct head_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
  using capacity = Capacity;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  using balance = Balance;
  static constexpr int most_experts = 32;
};

/// Two of the experts, by V-MoE's noisy gates, under a capacity.
template <class T, class Capacity>
using two_best = head_spec<T, polymoe::top_k<2, polymoe::score::noisy_constant<>>,
                           polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>, Capacity>;

template <class Spec, class B>
typename layer<typename Spec::scalar, B>::config head_with(const head_sizes& z) {
  using own = polymoe::layer<Spec, B>;
  typename own::config c;
  c.dim = z.features, c.hidden = z.hidden, c.experts = z.experts, c.classes = z.classes;
  if constexpr (Spec::capacity::limited) c.capacity.factor = static_cast<float>(z.capacity);
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

}  // namespace

template <class T, class B>
typename layer<T, B>::config expert_head(kind which, const head_sizes& z) {
  using namespace polymoe;
  switch (which) {
    case kind::head_k2_free:
      return head_with<two_best<T, capacity::unlimited>, B>(z);
    case kind::head_k2_fallback:
      return head_with<two_best<T, capacity::bounded<overflow::fallback>>, B>(z);
    case kind::head_soft:
      return head_with<head_spec<T, mixture<>>, B>(z);
    case kind::head_batch:
      return head_with<head_spec<T, soft_slots<axis::batch>>, B>(z);
    default:  // head_k2: no residual carries an image that finds no place
      return head_with<two_best<T, capacity::bounded<overflow::drop_to_zero>>, B>(z);
  }
}

}  // namespace paper_a
