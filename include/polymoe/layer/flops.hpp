// Compute shares of Mixture-of-Experts models, as constexpr functions of sizes: the three rho of papers A to D.
//
//   rho_static      dense block that the experts replace, over the whole dense model; does not depend on K
//   rho_active      K experts per unit, over rest + shared + router + K experts (or the measured mean number of served
//                   choices)
//   rho_capacity    all slots, filled or not, over rest + shared + router + all slots: what padded buffers
//                   really compute
// All in multiply-accumulates.  Of a composed model they come from what it costs:
//
//   constexpr compute_share s = share_of(Sparse::count(config, images), Dense::count(dense_config, images));
//   static_assert(s.rho_active() < 0.3, "experts take less than a third of the step");
#pragma once

#include "../core/cost.hpp"

namespace polymoe::inline v0 {

struct compute_share {
  double rest = 0;    ///< MACs outside routed blocks and routers
  double router = 0;  ///< MACs of the routers
  double block = 0;   ///< MACs of the dense blocks that the experts replace
  double expert = 0;  ///< MACs of one expert for every unit (all routed layers together)
  double shared = 0;  ///< MACs of the experts that every unit meets (nn::shared_experts): computed, not routed
  double choices = 1;  ///< experts that serve a unit, K; the mean over routed layers, weighted by their MACs
  double slots = 1;    ///< slots computed per routed unit, E C / n; likewise

  constexpr double rho_static() const { return block / (rest + block); }
  constexpr double rho_active(double k) const { return k * expert / (rest + shared + router + k * expert); }
  /// With K choices for each unit, as settings say; a measured mean of served choices is handed over as `k`.
  constexpr double rho_active() const { return rho_active(choices); }
  constexpr double rho_capacity() const { return rho_capacity(slots); }
  /// `slots_per_unit` is E * C / n: slots computed per routed unit.
  constexpr double rho_capacity(double slots_per_unit) const {
    return slots_per_unit * expert / (rest + shared + router + slots_per_unit * expert);
  }
};

/// Of a model with experts whose blocks, were they dense, would take `block` MACs for as many rows as `sparse` was
/// counted for.  Capacities are those of that many rows, too: count a batch where units of different images compete.
constexpr compute_share share_of(const cost& sparse, double block) {
  compute_share s;
  s.router = static_cast<double>(sparse.router_macs), s.shared = static_cast<double>(sparse.shared_macs);
  s.rest = static_cast<double>(sparse.macs - sparse.routed_macs - sparse.router_macs - sparse.shared_macs);
  s.block = block, s.expert = static_cast<double>(sparse.expert_macs);
  s.choices = sparse.expert_macs ? static_cast<double>(sparse.routed_macs) / s.expert : 0;
  s.slots = sparse.expert_macs ? static_cast<double>(sparse.slot_macs) / s.expert : 0;
  return s;
}
/// The same beside the cost of the dense model, which is equal outside its blocks and has no routers.
constexpr compute_share share_of(const cost& sparse, const cost& dense) {
  const index rest = sparse.macs - sparse.routed_macs - sparse.router_macs - sparse.shared_macs;
  return share_of(sparse, static_cast<double>(dense.macs - rest));
}
/// Beside the twin whose blocks take what the experts of one unit take: of width K H, for K experts of width H.
constexpr compute_share share_of(const cost& sparse) {
  return share_of(sparse, static_cast<double>(sparse.routed_macs));
}

/// Sizes of a vision transformer, enough to try many: the same shares as nn::vit's, without its configuration.
struct vit_shape {
  index layers = 12, dim = 192, mlp = 768;
  index image = 224, patch = 16, channels = 3, classes = 1000;
  index extra_tokens = 1;   ///< class token
  index routed_layers = 0;  ///< MLP blocks that become Mixture-of-Experts layers
  index experts = 8;
  index expert_hidden = 0;  ///< 0: the same as mlp
  index shared_hidden = 0;  ///< of all shared experts of a routed layer together
  bool router_per_layer = true;

  constexpr index tokens() const { return (image / patch) * (image / patch) + extra_tokens; }
  /// Per layer 4 d^2 n (projections) + 2 n^2 d (scores and values) + 2 d h n (MLP); plus patch embedding and head.
  constexpr compute_share share() const {
    const auto n = static_cast<double>(tokens()), d = static_cast<double>(dim), h = static_cast<double>(mlp);
    const double attention = 4 * d * d * n + 2 * n * n * d, block = 2 * d * h * n;
    const auto routed = static_cast<double>(routed_layers), all = static_cast<double>(layers);
    const double patches =
        static_cast<double>((image / patch) * (image / patch)) * d * static_cast<double>(patch * patch * channels);
    compute_share s;
    s.rest = all * attention + (all - routed) * block + patches + d * static_cast<double>(classes);
    s.router = (router_per_layer ? routed : (routed > 0 ? 1.0 : 0.0)) * n * d * static_cast<double>(experts);
    s.block = routed * block;
    s.shared = routed * 2 * d * static_cast<double>(shared_hidden) * n;
    s.expert = routed * 2 * d * static_cast<double>(expert_hidden ? expert_hidden : mlp) * n;
    return s;
  }
  constexpr double dense_macs() const {
    const compute_share s = share();
    return s.rest + s.block;
  }
};

}  // namespace polymoe
