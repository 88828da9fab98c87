// The heads of experts of paper B (arXiv 2601.15021), each in two forms: as its code has it, and as its text says.
//
//   soft     every expert features-64-classes for every image, weighted by softmax(gate)
//   sparse   the two best of them
//
// Coded differs from published in: the direction and scale of the KL loss of `soft`; in `sparse` the standardised gate,
// the floor of 0.3 under its noise, the dropout of logits before the choice, and a load loss that is the importance
// loss again.
#pragma once

#include <polymoe/polymoe.hpp>

#include "../experiment/any_layer.hpp"
#include "paper_b.hpp"

namespace paper_b {

namespace act = polymoe::act;
namespace balance = polymoe::balance;
namespace score = polymoe::score;

template <class T>
struct soft_coded : polymoe::spec {
  using scalar = T;
  using router = polymoe::with_bias<polymoe::mixture<score::gate_dropout<score::logit_dropout<>>>>;
  using expert = polymoe::expert::head<act::relu>;
  using balance = polymoe::balance::kl_as_coded;
  static constexpr int most_experts = 32;
};
template <class T>
struct soft_published : soft_coded<T> {
  using balance = polymoe::balance::kl_to_uniform;
};
template <class T>
struct sparse_coded : polymoe::spec {
  using scalar = T;
  using router = polymoe::with_bias<polymoe::top_k<
      experts_of_image, score::gate_dropout<score::standardized<
                            score::logit_dropout<score::noisy_learned<score::largest_softmax<experts_of_image>>>>>>>;
  using expert = polymoe::expert::head<act::relu>;
  using balance = polymoe::balance::importance_of_scores;
  static constexpr int most_experts = 32;
};
template <class T>
struct sparse_published : polymoe::spec {
  using scalar = T;
  using router = polymoe::with_bias<polymoe::top_k<experts_of_image, score::gate_dropout<score::noisy_learned<>>>>;
  using expert = polymoe::expert::head<act::relu>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load_shazeer>;
  static constexpr int most_experts = 32;
};

template <class Spec, class B = polymoe::cpu>
using head_layer = polymoe::layer<Spec, B>;
/// Sizes of the experts' heads, noise and dropout.
template <class Spec>
constexpr polymoe::layer_config<Spec> experts_config(index features, index classes) {
  polymoe::layer_config<Spec> c;
  c.dim = features, c.hidden = expert_hidden, c.experts = experts, c.classes = classes, c.expert_dropout = dropout;
  c.router.input_dropout = static_cast<float>(dropout);
  if constexpr (requires { c.router.dropout; }) c.router.dropout = static_cast<float>(dropout);
  if constexpr (std::is_same_v<Spec, sparse_coded<typename Spec::scalar>>) c.router.floor = 0.3f;
  return c;
}

/// Numbers that a head trains.
template <class Spec>
constexpr index head_params(index features, index classes) {
  return head_layer<Spec>::count(experts_config<Spec>(features, classes), 1).params;
}

/// A layer that is in training mode whatever the mode of the call.  Without dropout that is evaluation with noise.
template <class Layer>
class always_noisy : public Layer {
 public:
  using Layer::Layer;
  using T = typename Layer::scalar;
  void forward(polymoe::context<typename Layer::backend>& c, polymoe::view<const T> x, polymoe::view<T> y,
               typename Layer::saved& s) const {
    polymoe::context<typename Layer::backend> noisy = c;
    noisy.mode = polymoe::run_mode::train;
    Layer::forward(noisy, x, y, s);
  }
};

template <class Spec, class B = polymoe::cpu>
typename experiment::any_layer<typename Spec::scalar, B>::config any_head(const polymoe::layer_config<Spec>& c) {
  return experiment::any_layer<typename Spec::scalar, B>::template of<head_layer<Spec, B>>(c);
}

// ---- as the code has them

template <class T, class B>
typename layer<T, B>::config coded_head(head which, index features, index classes) {
  if (which == head::sparse)
    return any_head<sparse_coded<T>, B>(experts_config<sparse_coded<T>>(features, classes));
  return any_head<soft_coded<T>, B>(experts_config<soft_coded<T>>(features, classes));
}

template <class T, class B>
typename layer<T, B>::config noisy_head(index features, index classes) {
  auto c = experts_config<sparse_coded<T>>(features, classes);
  c.expert_dropout = 0, c.router.input_dropout = 0, c.router.dropout = 0;
  return layer<T, B>::template of<always_noisy<head_layer<sparse_coded<T>, B>>>(c);
}

// ---- as the text says

template <class T, class B>
typename layer<T, B>::config published_head(head which, index features, index classes) {
  if (which == head::soft_published)
    return any_head<soft_published<T>, B>(experts_config<soft_published<T>>(features, classes));
  auto c = experts_config<sparse_published<T>>(features, classes);
  c.balance.template get<balance::importance>().weight = 0.2f;
  c.balance.template get<balance::load_shazeer>().weight = 0.2f;
  return any_head<sparse_published<T>, B>(c);
}

}  // namespace paper_b
