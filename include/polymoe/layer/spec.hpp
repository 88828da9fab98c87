// spec: the policy axes of a layer and their defaults.  Inherit and override by name:
//
//   struct vit_moe : polymoe::spec {
//     using router   = polymoe::top_k<2, polymoe::score::softmax>;
//     using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
//   };
//
// Right-hand sides are fully qualified: an alias named like its policy namespace would hide that namespace.
#pragma once

#include "../balance/balance.hpp"
#include "../capacity/capacity.hpp"
#include "../combine/combine.hpp"
#include "../expert/mlp.hpp"
#include "../router/top_k.hpp"
#include "../unit/unit.hpp"
#include "exchange.hpp"

namespace polymoe::inline v0 {

/// The policies of a layer, one a line; a struct of your own inherits the defaults.
struct spec {
  using scalar = float;                                              ///< of activations: float, double, bf16, dual<...>
  using unit = polymoe::unit::token;                                 ///< what is routed
  using router = polymoe::top_k<2, polymoe::score::softmax>;         ///< scores, selection, vjp
  using capacity = polymoe::capacity::unlimited;                     ///< slots per expert and what overflow does
  using expert = polymoe::expert::mlp<polymoe::act::gelu_tanh>;      ///< what an expert computes
  using combine = polymoe::combine::affinity;                        ///< weights of the experts' outputs
  using balance = polymoe::balance::none;                            ///< losses that spread the load
  using exchange = polymoe::exchange::none;                          ///< where experts live
  using save = polymoe::save::everything;                            ///< what experts keep for backward
  static constexpr product_path products = product_path::automatic;  ///< of experts on CUDA
  static constexpr int most_experts = max_experts;  ///< largest E that kernels are compiled for; fewer compile faster
};

}  // namespace polymoe
