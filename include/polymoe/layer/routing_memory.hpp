// What the two halves of a routing module share: layer/routing.hpp, the same for every backend, and the backend's
// router_kernel, which computes.
#pragma once

#include "../core/param.hpp"
#include "../plan/sparse_plan.hpp"
#include "../router/group_plan.hpp"
#include "../router/input_noise.hpp"
#include "../router/route_row.hpp"
#include "../router/strictly_balanced.hpp"
#include "../router/with_cosine.hpp"
#include "../router/with_orthogonal.hpp"
#include "recipe.hpp"
#include "spec.hpp"
#include "stats.hpp"

namespace polymoe::inline v0 {

/// Run-time values of a routing module.
template <class Spec>
struct routing_config {
  index dim = 0;         ///< D_r, width of the router input
  index experts = 0;     ///< E
  index group_size = 0;  ///< units per group; 0: the whole call is one group
  typename Spec::router router{};
  typename Spec::capacity capacity{};
  typename Spec::combine combine{};
  balance::as_sum<typename Spec::balance> balance{};
  bool padded = false;   ///< padded plan layout instead of packed; E n slots a group of n where capacity is unlimited
};

/// What a spec's policies mean for its router on a backend, known when the code is compiled.
template <class Spec, class Backend>
struct routing_traits {
  using T = typename Spec::scalar;
  using C = compute_t<T>;
  using Router = typename Spec::router;
  using Capacity = typename Spec::capacity;
  using Balance = balance::as_sum<typename Spec::balance>;
  static constexpr polymoe::recipe recipe = choose_routing<Spec, Backend>();
  static constexpr bool all_experts = recipe.all_experts();
  static constexpr bool picked = recipe.picked();
  static constexpr int held = choices_of<Router>;  ///< choices kept per unit; 1 where K experts are not chosen
  static constexpr bool learned_noise = recipe.router_matrices > 1;
  static constexpr bool cosine = has_cosine_logits<Router>;
  static constexpr bool projected = has_cosine_projection<Router>;
  /// The bias belongs to the linear map that makes the logits, or what they are cosines of.
  static constexpr bool biased = has_projection_bias<Router> && !cosine;
  static constexpr bool biased_projection = has_projection_bias<Router> && projected;
  static constexpr bool biased_noise = has_projection_bias<Router> && learned_noise;
  static constexpr bool has_fallback = recipe.fallback;
};

/// The plan that a spec's router makes on a backend.  That of routers of slots has the backend's own form.
template <class Spec, class Backend>
struct plan_of {
  using type = sparse_plan<compute_t<typename Spec::scalar>>;
};
template <class Spec, class Backend>
requires makes_slot_plan<typename Spec::router> struct plan_of<Spec, Backend> {
  using type = typename Backend::template slot_plan<typename Spec::scalar>;
};

/// Trained and balanced quantities of a router, in the backend's memory.
template <class M>
struct routing_parameters {
  param<M> weight, noise_weight;  ///< [E, D_r] ([E, P] of cosines) and, with learned noise only, [E, D_r]
  param<M> weight_bias, noise_bias;  ///< [1, E] added to the logits and to the second projection; with_bias only
  param<M> projection, projection_bias;  ///< [P, D_r] and, with_bias only, [1, P] of cosines of a projection
  param<M> log_scale;                    ///< [1, 1] of cosines
  float* bias = nullptr;          ///< [E] of the loss-free balance, else null
  float* load = nullptr;          ///< [E]
  float* coefficient = nullptr;   ///< [1] of a balance loss that adapts, else null
  float* active = nullptr;        ///< [2] sum over training calls of the share of scores above zero, and their number
  float* threshold = nullptr;     ///< [E] of a router that learns them, else null
  float* threshold_gap = nullptr; ///< [E + 1] sums over training calls of (above - picked) / units; last: their number
  float* price = nullptr;         ///< [E] of a group plan that begins where the last step ended, else null
  float* price_sum = nullptr;     ///< [E + 1] sum over the groups of training calls, and their number
  std::uint64_t noise_stream = 0, jitter_stream = 0, dropout_stream = 0;
};

/// What every backend keeps of a routing call from forward to backward, in its own memory.
template <class C>
struct routing_memory {
  sparse_plan<C> plan;
  view<C> logits;        ///< [T, E] clean
  view<C> raw;           ///< [T, E] second projection, empty when there is one
  view<C> noisy;         ///< [T, E] prepared, with noise and dropout; empty where the recipe is not noisy
  view<C> scores;        ///< [T, E]
  view<C> totals;        ///< [G, columns * E]
  view<C> cotangents;    ///< [G, columns * E]
  view<C> values;        ///< [1, terms + 1] per loss, unweighted mean over groups; last: weighted sum
  view<C> d_gate;        ///< [1, S]
  view<C> d_skip;        ///< [1, T]
  view<C> d_logits;      ///< [T, E]
  view<C> d_raw;         ///< [T, E]
  const int* target = nullptr;  ///< [T] of the call, context::targets; null without
  routing_stats stats;   ///< its arrays

  plan_grad<sparse_plan<C>> d_plan() const { return {d_gate, d_skip}; }
};

/// The sizes of a call's group plans; their arrays are the backend's to add.
template <class Router, class C>
plan_record<C> sizes_of_plans(const sparse_plan<C>& p) {
  plan_record<C> r;
  r.groups = p.groups, r.group_size = p.group_size;
  r.picked = Router::k == picked_by_experts;
  r.limit = Router::k >= 1 ? index{Router::k} : index{r.picked ? p.capacity : p.experts};
  return r;
}

namespace backend {
/// The router of a backend.  A specialisation has
///
///   using memory                       routing_memory<C> and what else it keeps
///   router_kernel(config)
///   visit(v)                           derived memory
///   bind(b, memory, units, config)     the rest of the memory; that of routing_memory and the plan are bound before
///   refresh(c, parameters)
///   forward(c, config, parameters, r, memory)
///   clear(c, view of [1, n] numbers)
///   backward(c, config, parameters, r, dr, memory, accumulate)
///   commit(c, parameters, rate)
///   adapt(c, parameters, config), commit_prices(c, parameters)   with balance losses that adapt, with prices
///   products()                         name of the library or engine of dense products
///   launches(config)                   optional: kernels a training call launches, in words
///   stats(c, memory), values(c, memory), plan(c, memory)   what a call did, readable by the host
///   plans(c, config, parameters, memory)                   likewise, with routers that plan groups
template <class Spec, class Backend>
class router_kernel;
}  // namespace backend

}  // namespace polymoe
