// The layers of experts of paper D: token by token, or whole images behind one router for all blocks.
#pragma once

#include <polymoe/nn/routed_blocks.hpp>
#include <polymoe/polymoe.hpp>

#include "paper_d.hpp"

namespace paper_d {
namespace {

namespace nn = polymoe::nn;

template <class T, int K>
struct token_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<K, polymoe::score::noisy_constant<>>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};
template <class T, int K, class Seen>
struct image_spec : token_spec<T, K> {
  using unit = polymoe::unit::image<Seen>;
};
/// The router's only loss is the cross-entropy against super-classes.
template <class T, int K, class Seen>
struct told_spec : polymoe::spec {
  using scalar = T;
  using unit = polymoe::unit::image<Seen>;
  using router = polymoe::top_k<K>;
  using balance = polymoe::balance::supervised;
  static constexpr int most_experts = 32;
};
template <class T>
struct oracle_spec : polymoe::spec {
  using scalar = T;
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::fixed<>;
  static constexpr int most_experts = 32;
};

template <class Spec, class B>
typename layer<typename Spec::scalar, B>::config tokens_by(const layer_sizes& z, index experts, index hidden) {
  using own = polymoe::layer<Spec, B>;
  typename own::config c;
  c.dim = z.dim, c.hidden = hidden, c.experts = experts;
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

/// `change(config)` sets what the spec needs besides.
template <class Spec, class B, class F>
typename layer<typename Spec::scalar, B>::config images_by(const layer_sizes& z, F change) {
  using own = nn::routed_blocks<Spec, B>;
  typename own::config c;
  c.attention.dim = z.dim, c.attention.heads = z.heads, c.attention.tokens = z.tokens;
  c.moe.dim = z.dim, c.moe.hidden = z.hidden, c.moe.experts = z.experts, c.moe.unit_rows = z.tokens;
  c.count = z.blocks, c.first = z.first;
  change(c.moe);
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

/// f(K) with k as a constant; layers are compiled for few of them.
template <class F>
auto with_choices(int k, F f) {
  if (k == 1) return f(std::integral_constant<int, 1>());
  if (k == 2) return f(std::integral_constant<int, 2>());
  polymoe::require(k == 4, "--k ", k, ": layers are there for 1, 2 and 4");
  return f(std::integral_constant<int, 4>());
}

}  // namespace

// For one K each, so that ./check can compile one of every kind with nvcc (layers.cu) and not all.
template <class T, class B, int K>
typename layer<T, B>::config token_layer_of(const layer_sizes& z) {
  return tokens_by<token_spec<T, K>, B>(z, z.experts, z.hidden);
}
template <class T, class B, int K, class Seen>
typename layer<T, B>::config learned_blocks(const layer_sizes& z) {
  return images_by<image_spec<T, K, Seen>, B>(z, [](auto&) {});
}
template <class T, class B, int K, class Seen>
typename layer<T, B>::config told_blocks(const layer_sizes& z, double lambda) {
  return images_by<told_spec<T, K, Seen>, B>(z, [lambda](auto& moe) {
    moe.balance.template get<polymoe::balance::supervised>().weight = static_cast<float>(lambda);
  });
}

template <class T, class B>
typename layer<T, B>::config token_layer(const layer_sizes& z, int k) {
  return with_choices(k, [&]<int K>(std::integral_constant<int, K>) { return token_layer_of<T, B, K>(z); });
}
template <class T, class B>
typename layer<T, B>::config wide_layer(const layer_sizes& z, int k) {
  return tokens_by<token_spec<T, 1>, B>(z, 1, z.hidden * k);  // the softmax of one number is 1, and its losses are 0
}
template <class T, class B, class Seen>
typename layer<T, B>::config image_blocks(routing how, const layer_sizes& z, int k, double lambda) {
  return with_choices(k, [&]<int K>(std::integral_constant<int, K>) {
    return how == routing::learned_image ? learned_blocks<T, B, K, Seen>(z) : told_blocks<T, B, K, Seen>(z, lambda);
  });
}
template <class T, class B>
typename layer<T, B>::config oracle_blocks(const layer_sizes& z) {
  return images_by<oracle_spec<T>, B>(z, [](auto&) {});
}
template <class T, class B>
void set_experts(layer<T, B>& blocks, const int* of_image) {
  blocks.template as<nn::routed_blocks<oracle_spec<T>, B>>().router().settings().router.ids = of_image;
}

}  // namespace paper_d
