// Experts in the classifier head.
#pragma once

#include <polymoe/nn/activation.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/sequential.hpp>
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

/// K of the experts, by V-MoE's noisy gates, under a capacity.
template <class T, int K, class Capacity>
using best = head_spec<T, polymoe::top_k<K, polymoe::score::noisy_constant<>>,
                       polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>, Capacity>;
// No residual carries an image that finds no place.
using hard = polymoe::capacity::bounded<polymoe::overflow::drop_to_zero>;

/// What an expert of a head computes.
template <class T, class B>
using two_layers = polymoe::nn::sequential<polymoe::nn::named<"fc1", polymoe::nn::linear<T, B>>,
                                           polymoe::nn::named<"", polymoe::nn::activation<polymoe::act::relu, T, B>>,
                                           polymoe::nn::named<"fc2", polymoe::nn::linear<T, B>>>;

template <class Spec, class B>
typename layer<typename Spec::scalar, B>::config head_with(const head_sizes& z) {
  using own = polymoe::layer<Spec, B>;
  typename own::config c;
  c.dim = z.features, c.hidden = z.hidden, c.experts = z.experts, c.classes = z.classes;
  if constexpr (Spec::capacity::limited) c.capacity.factor = static_cast<float>(z.capacity);
  if constexpr (requires { c.router.slots; }) c.router.slots = z.slots;
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

}  // namespace

template <class T, class B>
typename layer<T, B>::config expert_head(kind which, const head_sizes& z) {
  using namespace polymoe;
  switch (which) {
    case kind::head_k1:
      return head_with<best<T, 1, hard>, B>(z);
    case kind::head_k2_free:
      return head_with<best<T, 2, capacity::unlimited>, B>(z);
    case kind::head_k2_fallback:
      return head_with<best<T, 2, capacity::bounded<overflow::fallback>>, B>(z);
    case kind::head_soft:
      return head_with<head_spec<T, mixture<>>, B>(z);
    case kind::head_batch:
      return head_with<head_spec<T, soft_slots<axis::batch>>, B>(z);
    default:  // head_k2
      return head_with<best<T, 2, hard>, B>(z);
  }
}
template <class T, class B>
typename dense<T, B>::config dense_head(const head_sizes& z) {
  using polymoe::nn::linear;
  if (z.hidden == 0) return dense<T, B>::template of<linear<T, B>>({z.features, z.classes});
  return dense<T, B>::template of<two_layers<T, B>>({{{z.features, z.hidden}, {z.hidden}, {z.hidden, z.classes}}});
}

}  // namespace paper_a
