// Experts in the classifier head.
#pragma once

#include <polymoe/polymoe.hpp>

#include "paper_a.hpp"

namespace paper_a {
namespace {

template <class T, class Router, class Balance = polymoe::balance::none>
struct head_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  using balance = Balance;
  static constexpr int most_experts = 32;
};

template <class Spec, class B>
typename layer<typename Spec::scalar, B>::config head_with(index features, index hidden, index experts, index classes) {
  using own = polymoe::layer<Spec, B>;
  typename own::config c;
  c.dim = features, c.hidden = hidden, c.experts = experts, c.classes = classes;
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

}  // namespace

template <class T, class B>
typename layer<T, B>::config expert_head(kind which, index features, index hidden, index experts, index classes) {
  using namespace polymoe;
  using two_best = head_spec<T, top_k<2, score::noisy_constant<>>, balance::sum<balance::importance, balance::load>>;
  if (which == kind::head_k2) return head_with<two_best, B>(features, hidden, experts, classes);
  if (which == kind::head_soft) return head_with<head_spec<T, mixture<>>, B>(features, hidden, experts, classes);
  return head_with<head_spec<T, soft_slots<axis::batch>>, B>(features, hidden, experts, classes);
}

}  // namespace paper_a
