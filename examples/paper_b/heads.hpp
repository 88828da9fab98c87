// The three heads of paper B (arXiv 2601.15021) on a ResNet for small images, each in two forms: as its code has it, and
// as its text says.
//
//   dense    features -> 512 -> ReLU -> dropout -> classes
//   soft     every expert features-64-classes for every image, weighted by softmax(gate)
//   sparse   the two best of them
//
// Coded differs from published in: the direction and scale of the KL loss of `soft`; in `sparse` the standardised gate, the
// floor of 0.3 under its noise, the dropout of logits before the choice, and a load loss that is the importance loss again.
#pragma once

#include <polymoe/nn/dropout.hpp>
#include <polymoe/nn/resnet.hpp>
#include <polymoe/polymoe.hpp>

namespace paper_b {

using polymoe::index;
namespace nn = polymoe::nn;
namespace act = polymoe::act;
namespace balance = polymoe::balance;
namespace score = polymoe::score;

inline constexpr index experts = 8, expert_hidden = 64, dense_hidden = 512;
inline constexpr double dropout = 0.1;

template <class T>
struct soft_coded : polymoe::spec {
  using scalar = T;
  using router = polymoe::with_bias<polymoe::mixture<score::gate_dropout<score::logit_dropout<>>>>;
  using expert = polymoe::expert::head<act::relu>;
  using balance = polymoe::balance::kl_from_uniform;
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
      2, score::gate_dropout<score::standardized<score::logit_dropout<score::noisy_learned<score::largest_softmax<2>>>>>>>;
  using expert = polymoe::expert::head<act::relu>;
  using balance = polymoe::balance::importance_of_scores;
  static constexpr int most_experts = 32;
};
template <class T>
struct sparse_published : polymoe::spec {
  using scalar = T;
  using router = polymoe::with_bias<polymoe::top_k<2, score::gate_dropout<score::noisy_learned<>>>>;
  using expert = polymoe::expert::head<act::relu>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load_shazeer>;
  static constexpr int most_experts = 32;
};

template <class T>
using dense_head = nn::sequential<nn::named<"0", nn::linear<T>>, nn::named<"", nn::activation<act::relu, T>>,
                                  nn::named<"dropout", nn::dropout<T>>, nn::named<"3", nn::linear<T>>>;

template <class T>
constexpr typename dense_head<T>::config dense_config(index features, index classes) {
  return {{{features, dense_hidden}, {dense_hidden}, {dense_hidden, dropout}, {dense_hidden, classes}}};
}
/// Sizes of the experts' heads, noise and dropout.
template <class Layer>
constexpr typename Layer::config experts_config(index features, index classes) {
  using Spec = typename Layer::spec;
  typename Layer::config c;
  c.dim = features, c.hidden = expert_hidden, c.experts = experts, c.classes = classes, c.expert_dropout = dropout;
  c.router.input_dropout = static_cast<float>(dropout);
  if constexpr (requires { c.router.dropout; }) c.router.dropout = static_cast<float>(dropout);
  if constexpr (std::is_same_v<Spec, sparse_coded<typename Layer::scalar>>) c.router.floor = 0.3f;
  return c;
}

/// Weights of the balance losses.
template <class Layer>
void set_strengths(typename Layer::config& c) {
  using Spec = typename Layer::spec;
  if constexpr (std::is_same_v<Spec, soft_coded<typename Layer::scalar>>)
    c.balance.template get<balance::kl_from_uniform>().weight = 0.2f / static_cast<float>(experts);
  if constexpr (std::is_same_v<Spec, sparse_published<typename Layer::scalar>>) {
    c.balance.template get<balance::importance>().weight = 0.2f;
    c.balance.template get<balance::load_shazeer>().weight = 0.2f;
  }
}

template <class Head>
using classifier = nn::resnet<nn::named<"head", Head>>;
template <class Spec>
using sparse_classifier = classifier<polymoe::layer<Spec, polymoe::cpu>>;

template <class T>
constexpr typename classifier<dense_head<T>>::config dense_model(const nn::resnet_sizes& s, index classes) {
  return {{nn::resnet_features_config<T>(s), dense_config<T>(s.features(), classes)}};
}
template <class Spec>
constexpr typename sparse_classifier<Spec>::config experts_model(const nn::resnet_sizes& s, index classes) {
  using T = typename Spec::scalar;
  return {{nn::resnet_features_config<T>(s), experts_config<polymoe::layer<Spec, polymoe::cpu>>(s.features(), classes)}};
}

// The published models have exactly these parameters.
static_assert(classifier<dense_head<float>>::count(dense_model<float>({}, 10), 1).params == 11'436'618);
static_assert(sparse_classifier<soft_coded<float>>::count(experts_model<soft_coded<float>>({}, 10), 1).params == 11'440'792);
static_assert(sparse_classifier<sparse_coded<float>>::count(experts_model<sparse_coded<float>>({}, 10), 1).params == 11'444'896);

}  // namespace paper_b
