// The layers of the body for one kind of experts, and its dense blocks; instantiated in one source file per kind and
// backend.
#pragma once

#include <polymoe/nn/small_cnn.hpp>
#include <polymoe/polymoe.hpp>

#include "paper_a.hpp"

namespace paper_a {
namespace {

namespace act = polymoe::act;
namespace balance = polymoe::balance;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;

template <class T, class Expert, class Router, class Capacity,
          class Balance = balance::sum<balance::importance, balance::load>>
struct body_spec : polymoe::spec {
  using scalar = T;
  using unit = polymoe::unit::feature_map;
  using router = Router;
  using capacity = Capacity;
  using expert = Expert;
  using balance = Balance;
  static constexpr int most_experts = 32;
};
template <class T, class Expert, int K, class Capacity>
using best = body_spec<T, Expert, polymoe::top_k<K, score::noisy_constant<>>, Capacity>;
template <class T, class Expert, int K, class Overflow>
using limited = best<T, Expert, K, polymoe::capacity::bounded<Overflow>>;

template <class Spec, class B>
typename layer<typename Spec::scalar, B>::config with(const block_sizes& z) {
  using own = polymoe::layer<Spec, B>;
  typename own::config c;
  c.dim = z.channels, c.hidden = z.hidden, c.experts = z.experts, c.unit_rows = z.map_height * z.map_width;
  c.map_height = z.map_height;
  if constexpr (Spec::capacity::limited) c.capacity.factor = static_cast<float>(z.capacity);
  if constexpr (requires { c.router.slots; }) c.router.slots = z.slots;
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

template <class Expert, class T, class B>
typename layer<T, B>::config body_of(kind which, const block_sizes& z) {
  using polymoe::capacity::unlimited;
  switch (which) {
    case kind::k1:
    case kind::k1_wide:
    case kind::k1_few:
      return with<limited<T, Expert, 1, overflow::drop>, B>(z);
    case kind::k1_free:
      return with<best<T, Expert, 1, unlimited>, B>(z);
    case kind::k2_free:
      return with<best<T, Expert, 2, unlimited>, B>(z);
    case kind::k2_identity:
      return with<limited<T, Expert, 2, overflow::identity>, B>(z);
    case kind::k2_reroute:
      return with<limited<T, Expert, 2, overflow::reroute<2>>, B>(z);
    case kind::k2_fallback:
      return with<limited<T, Expert, 2, overflow::fallback>, B>(z);
    case kind::soft:
      return with<body_spec<T, Expert, polymoe::mixture<>, unlimited, balance::none>, B>(z);
    case kind::soft_batch:
      return with<body_spec<T, Expert, polymoe::soft_slots<polymoe::axis::batch>, unlimited, balance::none>, B>(z);
    default:  // k2
      return with<limited<T, Expert, 2, overflow::drop>, B>(z);
  }
}

}  // namespace

inline polymoe::nn::small_cnn_sizes network_sizes(const block_sizes& z) {
  return {.height = 4 * z.map_height, .width = 4 * z.map_width, .base = z.channels / 2, .hidden = z.hidden};
}
template <class T, class B>
typename dense<T, B>::config standard_block(const block_sizes& z) {
  return dense<T, B>::template of<polymoe::nn::conv_path<T, B>>(polymoe::nn::conv_path_config<T, B>(network_sizes(z)));
}
template <class T, class B>
typename dense<T, B>::config depthwise_block(const block_sizes& z) {
  return dense<T, B>::template of<polymoe::nn::depthwise_path<T, B>>(
      polymoe::nn::depthwise_path_config<T, B>(network_sizes(z)));
}
template <class T, class B>
typename layer<T, B>::config standard_experts(kind which, const block_sizes& z) {
  return body_of<polymoe::expert::conv_block<act::relu>, T, B>(which, z);
}
template <class T, class B>
typename layer<T, B>::config depthwise_experts(kind which, const block_sizes& z) {
  return body_of<polymoe::expert::depthwise_block<>, T, B>(which, z);
}

}  // namespace paper_a
