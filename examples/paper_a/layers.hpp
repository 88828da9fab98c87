// The layers of the body for one kind of experts; instantiated in one source file per kind.
#pragma once

#include <polymoe/polymoe.hpp>

#include "paper_a.hpp"

namespace paper_a {
namespace {

namespace act = polymoe::act;
namespace balance = polymoe::balance;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;

template <class Expert, class Router, class Capacity, class Balance = balance::sum<balance::importance, balance::load>>
struct body_spec : polymoe::spec {
  using unit = polymoe::unit::feature_map;
  using router = Router;
  using capacity = Capacity;
  using expert = Expert;
  using balance = Balance;
  static constexpr int most_experts = 32;
};
template <class Expert, int K, class Overflow>
using limited = body_spec<Expert, polymoe::top_k<K, score::noisy_constant<>>, polymoe::capacity::bounded<Overflow>>;
template <class Expert>
using whole = body_spec<Expert, polymoe::top_k<1>, polymoe::capacity::unlimited, balance::none>;

template <class Spec>
layer::config with(const block_sizes& z) {
  using own = polymoe::layer<Spec, polymoe::cpu>;
  typename own::config c;
  c.dim = z.channels, c.hidden = z.hidden, c.experts = z.experts, c.unit_rows = z.map_height * z.map_width;
  c.map_height = z.map_height;
  if constexpr (requires { c.capacity.factor; }) c.capacity.factor = static_cast<float>(z.capacity);
  return layer::of<own>(c);
}

template <class Expert>
layer::config body_of(kind which, const block_sizes& z) {
  using polymoe::capacity::unlimited, polymoe::top_k;
  switch (which) {
    case kind::k1:
      return with<limited<Expert, 1, overflow::drop>>(z);
    case kind::k2:
      return with<limited<Expert, 2, overflow::drop>>(z);
    case kind::k2_free:
      return with<body_spec<Expert, top_k<2, score::noisy_constant<>>, unlimited>>(z);
    case kind::k2_reroute:
      return with<limited<Expert, 2, overflow::reroute<2>>>(z);
    case kind::k2_fallback:
      return with<limited<Expert, 2, overflow::fallback>>(z);
    case kind::soft:
      return with<body_spec<Expert, polymoe::mixture<>, unlimited, balance::none>>(z);
    default:
      return with<whole<Expert>>(z);  // no routing: dense twins, and the body under a head of experts
  }
}

}  // namespace
}  // namespace paper_a
