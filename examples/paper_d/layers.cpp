// The layers of experts of paper D: token by token, or whole images behind one router for all blocks.
#include <polymoe/nn/routed_blocks.hpp>
#include <polymoe/polymoe.hpp>

#include "paper_d.hpp"

namespace paper_d {
namespace {

namespace nn = polymoe::nn;

template <int K>
struct token_spec : polymoe::spec {
  using router = polymoe::top_k<K, polymoe::score::noisy_constant<>>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};
template <int K>
struct image_spec : token_spec<K> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
};
/// The router's only loss is the cross-entropy against super-classes.
template <int K>
struct told_spec : polymoe::spec {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::top_k<K>;
  using balance = polymoe::balance::supervised;
  static constexpr int most_experts = 32;
};
struct oracle_spec : polymoe::spec {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::fixed<>;
  static constexpr int most_experts = 32;
};

template <class Spec>
layer::config tokens_by(const layer_sizes& z) {
  using own = polymoe::layer<Spec, polymoe::cpu>;
  typename own::config c;
  c.dim = z.dim, c.hidden = 4 * z.dim, c.experts = z.experts;
  return layer::of<own>(c);
}

template <class Spec>
typename nn::routed_blocks<Spec>::config blocks_of(const layer_sizes& z) {
  typename nn::routed_blocks<Spec>::config c;
  c.attention.dim = z.dim, c.attention.heads = z.heads, c.attention.tokens = z.tokens;
  c.moe.dim = z.dim, c.moe.hidden = 4 * z.dim, c.moe.experts = z.experts, c.moe.unit_rows = z.tokens;
  c.count = z.blocks, c.first = z.first;
  return c;
}
template <class Spec>
layer::config images_by(const layer_sizes& z) {
  return layer::of<nn::routed_blocks<Spec>>(blocks_of<Spec>(z));
}
template <class Spec>
layer::config told(const layer_sizes& z, double lambda) {
  auto c = blocks_of<Spec>(z);
  c.moe.balance.template get<polymoe::balance::supervised>().weight = static_cast<float>(lambda);
  return layer::of<nn::routed_blocks<Spec>>(c);
}

}  // namespace

layer::config token_layer(const layer_sizes& z, int k) {
  return k == 1 ? tokens_by<token_spec<1>>(z) : tokens_by<token_spec<2>>(z);
}
layer::config learned_blocks(const layer_sizes& z, int k) {
  return k == 1 ? images_by<image_spec<1>>(z) : images_by<image_spec<2>>(z);
}
layer::config told_blocks(const layer_sizes& z, int k, double lambda) {
  return k == 1 ? told<told_spec<1>>(z, lambda) : told<told_spec<2>>(z, lambda);
}
layer::config oracle_blocks(const layer_sizes& z) { return images_by<oracle_spec>(z); }
void set_experts(layer& blocks, const int* of_image) {
  blocks.as<nn::routed_blocks<oracle_spec>>().router().settings().router.ids = of_image;
}

}  // namespace paper_d
