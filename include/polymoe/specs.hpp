// specs: compositions that papers and programs use by name.  Each is an ordinary spec; inherit to change an axis:
//
//   struct my_moe : polymoe::specs::vit_moe<float> {
//     using capacity = polymoe::capacity::unlimited;
//   };
//   polymoe::layer<my_moe, polymoe::cpu> moe({.dim = 384, .hidden = 1536, .experts = 32});
//
// The umbrella header does not include this one.  Inside this project's own build, a program whose source says
// "// specs: <name>..." links compiled instantiations (examples/specs/<name>.cpp, tests/specs/<name>.cpp), and
// POLYMOE_SPECS_<NAME> tells it to leave them to the linker.  Elsewhere the layers are instantiated where they are
// used, like any other.
#pragma once

#include "polymoe.hpp"

namespace polymoe::inline v0 {
namespace specs {

/// V-MoE (Riquelme et al. 2021): top-2 of noisy softmax scores, capacity 1.25 K T / E served first choices first, then
/// in token order; importance and load losses of 0.005 each.
template <class T = float>
struct vit_moe : spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop, polymoe::priority::position>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};

/// V-MoE with batch prioritised routing: units with the largest scores are served first.
template <class T = float>
struct vit_moe_bpr : vit_moe<T> {
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop, polymoe::priority::gate>;
};

/// Switch Transformer (Fedus et al. 2021): one expert per token, a hard capacity, the Switch loss.
template <class T = float>
struct switch_top1 : spec {
  using scalar = T;
  using router = polymoe::top_k<1, polymoe::score::softmax>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::switch_loss;
};

/// Top-2 of softmax scores without a capacity: every choice is served.  Importance loss.
template <class T = float>
struct dropless_top2 : spec {
  using scalar = T;
  using balance = polymoe::balance::importance;
};

/// Per-sample Soft MoE (paper A): the softmax over all experts weighs all their outputs.
template <class T = float>
struct soft_mixture : spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using balance = polymoe::balance::kl_from_uniform;
};

/// The SoftMoE head of paper B: a mixture of ReLU classifiers.  Set `classes` in the layer's config.
template <class T = float>
struct soft_head : spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  using balance = polymoe::balance::kl_from_uniform;
};

/// A sparse head in the manner of paper B: top-2 of scores with learned noise, renormalised, dropless, ReLU
/// classifiers. The paper's gate also standardises the logits of each sample, which this one does not.
template <class T = float>
struct sparse_head : spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_learned<>>;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::importance;
};

}  // namespace specs

// What examples/specs/*.cpp and tests/specs/*.cpp instantiate.
#if defined(POLYMOE_SPECS_VIT_MOE_BF16)
extern template class detail::working_layer<specs::vit_moe<bf16>, cpu>;
#endif
#if defined(POLYMOE_SPECS_VIT_MOE_F32)
extern template class detail::working_layer<specs::vit_moe<float>, cpu>;
#endif
#if defined(POLYMOE_SPECS_VIT_MOE_BPR)
extern template class detail::working_layer<specs::vit_moe_bpr<float>, cpu>;
extern template class detail::working_layer<specs::vit_moe_bpr<bf16>, cpu>;
#endif
#if defined(POLYMOE_SPECS_TOKEN_CHOICE)
extern template class detail::working_layer<specs::switch_top1<float>, cpu>;
extern template class detail::working_layer<specs::dropless_top2<float>, cpu>;
extern template class detail::working_layer<specs::dropless_top2<double>, cpu>;
#endif
#if defined(POLYMOE_SPECS_MIXTURES)
extern template class detail::working_layer<specs::soft_mixture<float>, cpu>;
extern template class detail::working_layer<specs::soft_head<float>, cpu>;
extern template class detail::working_layer<specs::soft_head<double>, cpu>;
extern template class detail::working_layer<specs::sparse_head<float>, cpu>;
#endif

}  // namespace polymoe
