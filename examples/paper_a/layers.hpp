// The layers of the body for one kind of experts; instantiated in one source file per kind and backend.
#pragma once

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
template <class T, class Expert, int K, class Overflow>
using limited = body_spec<T, Expert, polymoe::top_k<K, score::noisy_constant<>>, polymoe::capacity::bounded<Overflow>>;
template <class T, class Expert>
using whole = body_spec<T, Expert, polymoe::top_k<1>, polymoe::capacity::unlimited, balance::none>;

template <class Spec, class B>
typename layer<typename Spec::scalar, B>::config with(const block_sizes& z) {
  using own = polymoe::layer<Spec, B>;
  typename own::config c;
  c.dim = z.channels, c.hidden = z.hidden, c.experts = z.experts, c.unit_rows = z.map_height * z.map_width;
  c.map_height = z.map_height;
  if constexpr (requires { c.capacity.factor; }) c.capacity.factor = static_cast<float>(z.capacity);
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

template <class Expert, class T, class B>
typename layer<T, B>::config body_of(kind which, const block_sizes& z) {
  using polymoe::capacity::unlimited, polymoe::top_k;
  switch (which) {
    case kind::k1:
      return with<limited<T, Expert, 1, overflow::drop>, B>(z);
    case kind::k2:
      return with<limited<T, Expert, 2, overflow::drop>, B>(z);
    case kind::k2_free:
      return with<body_spec<T, Expert, top_k<2, score::noisy_constant<>>, unlimited>, B>(z);
    case kind::k2_reroute:
      return with<limited<T, Expert, 2, overflow::reroute<2>>, B>(z);
    case kind::k2_fallback:
      return with<limited<T, Expert, 2, overflow::fallback>, B>(z);
    case kind::soft:
      return with<body_spec<T, Expert, polymoe::mixture<>, unlimited, balance::none>, B>(z);
    default:
      return with<whole<T, Expert>, B>(z);  // no routing: dense twins, and the body under a head of experts
  }
}

}  // namespace

template <class T, class B>
typename layer<T, B>::config standard_body(kind which, const block_sizes& z) {
  return body_of<polymoe::expert::conv_block<act::relu>, T, B>(which, z);
}
template <class T, class B>
typename layer<T, B>::config depthwise_body(kind which, const block_sizes& z) {
  return body_of<polymoe::expert::depthwise_block<>, T, B>(which, z);
}

}  // namespace paper_a
