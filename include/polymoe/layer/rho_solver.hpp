// The inverse of flops.hpp: hidden widths, E and K for a wanted share of routed compute, and dense twins, as constexpr
// functions.
//
//   constexpr routed_shape s = routed_shape_of(vit_shape{.routed_layers = 2});
//   constexpr rho_answer a = solve_rho(s, {.rho = 0.1, .experts = 8, .k = 2});   // a.hidden, a.achieved, a.reached
//   constexpr dense_twin t = twin_of(s, match::parameters, {a.hidden, 8, 2});    // t.hidden, t.error()
//
// Hidden widths are multiples of 8 (or what is asked for), so a share is met only nearly: answers have what is
// achieved. A share out of reach is said to be, with what the narrowest and the widest experts give.
#pragma once

#include <span>

#include "../core/error.hpp"
#include "flops.hpp"

namespace polymoe::inline v0 {

/// Experts of one kind in all routed layers.
struct expert_sizes {
  index hidden = 0;  ///< H of one expert
  int experts = 1;   ///< E
  int k = 1;         ///< K
  double slots = 0;  ///< slots computed per routed unit, E C / n; 0: K
};

enum class rho_kind {
  of_block,  ///< compute_share::rho_static against the dense twin by active MACs
  active,    ///< compute_share::rho_active(K)
  capacity   ///< compute_share::rho_capacity(slots)
};
enum class match {
  parameters,
  active_macs,  ///< K experts and the routers
  total_macs    ///< all slots that a capacity buys, filled or not, and the routers
};

struct rho_question {
  double rho = 0;
  rho_kind kind = rho_kind::of_block;
  int experts = 8, k = 1;
  double slots = 0;                                      ///< as in expert_sizes
  index multiple = 8, least = 8, most = index{1} << 16;  ///< hidden widths that may be answered
};
struct rho_answer {
  index hidden = 0;
  int experts = 1, k = 1;
  double wanted = 0, achieved = 0;
  double least_rho = 0, most_rho = 0;  ///< of the narrowest and the widest expert allowed
  bool reached = false;                ///< whether `wanted` lies between the two
  constexpr double error() const { return achieved - wanted; }
};
struct dense_twin {
  index hidden = 0;
  double wanted = 0, achieved = 0;  ///< parameters or MACs of the whole model: with experts, and of the twin
  constexpr double error() const { return wanted > 0 ? achieved / wanted - 1 : 0; }
};

namespace detail {
/// The multiples around `hidden` in [least, most], which are multiples themselves.
struct widths {
  index first = 0, last = 0, step = 1;
};
constexpr widths widths_around(double hidden, index multiple, index least, index most) {
  const index low = ceil_div(least, multiple) * multiple, high = most / multiple * multiple;
  const double held = hidden > static_cast<double>(low) ? hidden : static_cast<double>(low);
  const index at = held < static_cast<double>(high) ? static_cast<index>(held) / multiple * multiple : high;
  const auto within = [&](index h) { return h < low ? low : h > high ? high : h; };
  return {within(at - 2 * multiple), within(at + 3 * multiple), multiple};
}
constexpr double distance(double a, double b) { return a > b ? a - b : b - a; }
}  // namespace detail

/// A model around its routed blocks: an image's MACs, and parameters, as affine functions of the hidden width of a
/// block, be it dense or an expert.  All routed layers together.
struct routed_shape {
  double rest = 0;         ///< MACs outside blocks and routers
  double width_macs = 0;   ///< of a block, for each number of its hidden width, over all units
  double block_macs = 0;   ///< of a block, whatever its width
  double router_macs = 0;  ///< of the routers, for each expert
  double rest_params = 0, width_params = 0, block_params = 0, router_params = 0;  ///< likewise

  constexpr double macs(double hidden) const { return block_macs + hidden * width_macs; }
  constexpr double params(double hidden) const { return block_params + hidden * width_params; }
  /// What `m` counts of the routed layers with experts, without the rest.
  constexpr double routed(match m, const expert_sizes& e) const {
    const auto h = static_cast<double>(e.hidden), all = static_cast<double>(e.experts);
    if (m == match::parameters) return all * (params(h) + router_params);
    const double met = m == match::active_macs || e.slots <= 0 ? static_cast<double>(e.k) : e.slots;
    return met * macs(h) + all * router_macs;
  }
  /// As compute_share; `dense_hidden`: of the blocks that the experts replace.
  constexpr compute_share share(const expert_sizes& e, index dense_hidden) const {
    compute_share s;
    s.rest = rest, s.router = static_cast<double>(e.experts) * router_macs;
    s.block = macs(static_cast<double>(dense_hidden)), s.expert = macs(static_cast<double>(e.hidden));
    s.choices = static_cast<double>(e.k), s.slots = e.slots > 0 ? e.slots : s.choices;
    return s;
  }
};

/// From costs of a model (Model::count): with dense blocks of two widths, and with one expert more at the first width
/// (one expert serves a unit in all three).  What a layer of one expert has of a router counts to rest and blocks.
constexpr routed_shape routed_shape_of(const cost& narrow, index narrow_hidden, const cost& wide, index wide_hidden,
                                       const cost& one_more) {
  const auto by = static_cast<double>(wide_hidden - narrow_hidden), h = static_cast<double>(narrow_hidden);
  const auto expert_params = static_cast<double>(one_more.params - narrow.params);
  routed_shape s;
  s.width_macs = static_cast<double>(wide.routed_macs - narrow.routed_macs) / by;
  s.block_macs = static_cast<double>(narrow.routed_macs) - h * s.width_macs;
  s.rest = static_cast<double>(narrow.macs - narrow.routed_macs);
  s.router_macs = static_cast<double>(one_more.macs - narrow.macs);
  s.width_params = static_cast<double>(wide.params - narrow.params) / by;
  s.block_params = expert_params - h * s.width_params;
  s.rest_params = static_cast<double>(narrow.params) - expert_params;
  return s;
}

/// Of a vision transformer with biases, class token and positions, as nn::vit has them.
constexpr routed_shape routed_shape_of(const vit_shape& v) {
  const auto d = static_cast<double>(v.dim), h = static_cast<double>(v.mlp), n = static_cast<double>(v.tokens());
  const auto layers = static_cast<double>(v.layers), routed = static_cast<double>(v.routed_layers);
  const auto pixels = static_cast<double>(v.patch * v.patch * v.channels), classes = static_cast<double>(v.classes);
  const compute_share c = v.share();
  routed_shape s;
  s.rest = c.rest + c.shared, s.width_macs = routed * 2 * d * n,
  s.router_macs = c.router / static_cast<double>(v.experts);
  s.width_params = routed * (2 * d + 1), s.block_params = routed * d;
  s.router_params = s.router_macs / n;
  const double outside = layers * (4 * d * d + 4 * d + 4 * d) + (layers - routed) * (2 * d * h + h + d);
  const double ends = pixels * d + d + n * d + static_cast<double>(v.extra_tokens) * d + 2 * d + d * classes + classes;
  s.rest_params = outside + ends + routed * 2 * d * static_cast<double>(v.shared_hidden);
  return s;
}

/// The dense model, one block for each routed layer, that has as much of `m` as the model with experts: the hidden
/// width that comes nearest, at least `multiple`; of two equally near ones the narrower.
constexpr dense_twin twin_of(const routed_shape& s, match m, const expert_sizes& e, index multiple = 8) {
  const bool params = m == match::parameters;
  const double want = s.routed(m, e), rest = params ? s.rest_params : s.rest;
  const double fixed = params ? s.block_params : s.block_macs, slope = params ? s.width_params : s.width_macs;
  const auto around = detail::widths_around((want - fixed) / slope, multiple, multiple, index{1} << 40);
  dense_twin best;
  for (index h = around.first; h <= around.last; h += around.step) {
    const double have = fixed + static_cast<double>(h) * slope;
    if (best.hidden == 0 || detail::distance(have + rest, want + rest) < detail::distance(best.achieved, want + rest))
      best = {h, want + rest, have + rest};
  }
  return best;
}

/// The share of experts of these sizes; rho_static against twin_of(active_macs).
constexpr double rho_of(const routed_shape& s, rho_kind kind, const expert_sizes& e, index multiple = 8) {
  const compute_share c = s.share(e, twin_of(s, match::active_macs, e, multiple).hidden);
  if (kind == rho_kind::of_block) return c.rho_static();
  return kind == rho_kind::active ? c.rho_active() : c.rho_capacity();
}

/// The hidden width whose share comes nearest to the wanted one; of two equally near ones the narrower.
constexpr rho_answer solve_rho(const routed_shape& s, const rho_question& q) {
  const double met = q.kind == rho_kind::capacity && q.slots > 0 ? q.slots : static_cast<double>(q.k);
  const double router = static_cast<double>(q.experts) * s.router_macs;
  // MACs of the routed part: of the twin, which has the routers' too, or of the experts alone.
  const double odds = q.rho > 0 && q.rho < 1 ? q.rho / (1 - q.rho) : q.rho > 0 ? 1e30 : 0;
  const double routed = q.kind == rho_kind::of_block ? odds * s.rest - router : odds * (s.rest + router);
  const auto around = detail::widths_around((routed / met - s.block_macs) / s.width_macs, q.multiple, q.least, q.most);
  const auto rho = [&](index hidden) { return rho_of(s, q.kind, {hidden, q.experts, q.k, q.slots}, q.multiple); };
  rho_answer a;
  a.experts = q.experts, a.k = q.k, a.wanted = q.rho;
  for (index h = around.first; h <= around.last; h += around.step)
    if (const double have = rho(h);
        a.hidden == 0 || detail::distance(have, q.rho) < detail::distance(a.achieved, q.rho))
      a.hidden = h, a.achieved = have;
  a.least_rho = rho(ceil_div(q.least, q.multiple) * q.multiple), a.most_rho = rho(q.most / q.multiple * q.multiple);
  a.reached = a.least_rho <= q.rho && q.rho <= a.most_rho;
  return a;
}

/// The same over K from `ks` and every E up to `most_experts` that has `parameters` in the whole model, as nearly as
/// possible: the larger of both relative errors is the least.  `q.slots` is taken for each E as it is.
constexpr rho_answer solve_rho(const routed_shape& s, rho_question q, double parameters, int most_experts,
                               std::span<const int> ks) {
  rho_answer best;
  double least = -1;
  for (const int k : ks)
    for (int e = k > 2 ? k : 2; e <= most_experts; ++e) {
      q.k = k, q.experts = e;
      const rho_answer a = solve_rho(s, q);
      const double have = s.rest_params + s.routed(match::parameters, {a.hidden, e, k, q.slots});
      const double by_rho = detail::distance(a.achieved, q.rho) / q.rho;
      const double by_params = detail::distance(have, parameters) / parameters,
                   worst = by_rho > by_params ? by_rho : by_params;
      if (least < 0 || worst < least) least = worst, best = a;
    }
  return best;
}

/// Which part of a vision transformer becomes sparse when its FLOPs stay: L blocks with K experts of width mlp / K.
struct block_answer {
  index routed_layers = 0, hidden = 0;
  double wanted = 0, achieved = 0;  ///< rho_static of L blocks
  double macs_error = 0;            ///< active MACs over those of the dense model, less 1: routers, and widths rounded
  bool reached = false;             ///< whether `wanted` lies between the shares of one block and of all
  constexpr double error() const { return achieved - wanted; }
};
constexpr block_answer solve_blocks(vit_shape v, double rho, int k, index multiple = 8) {
  block_answer best;
  best.wanted = rho;
  v.expert_hidden = (v.mlp / k + multiple / 2) / multiple * multiple;
  if (v.expert_hidden < multiple) v.expert_hidden = multiple;
  best.hidden = v.expert_hidden;
  const double dense = v.dense_macs();
  const auto share = [&v](index layers) {
    v.routed_layers = layers;
    return v.share();
  };
  for (index layers = 1; layers <= v.layers; ++layers) {
    const compute_share c = share(layers);
    if (best.routed_layers > 0 && detail::distance(c.rho_static(), rho) >= detail::distance(best.achieved, rho))
      continue;
    best.routed_layers = layers, best.achieved = c.rho_static();
    best.macs_error = (c.rest + c.shared + c.router + static_cast<double>(k) * c.expert) / dense - 1;
  }
  best.reached = share(1).rho_static() <= rho && rho <= share(v.layers).rho_static();
  return best;
}

/// Throws, with both numbers, when the share is out of reach.
inline void require_reached(const rho_answer& a, const std::string& what) {
  require(a.reached, what, ": a routed share of ", a.wanted, " cannot be reached, the nearest is ", a.achieved,
          " with hidden width ", a.hidden, "; widths allowed give ", a.least_rho, " to ", a.most_rho);
}

}  // namespace polymoe
