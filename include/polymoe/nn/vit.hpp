// The vision transformer classifier (Dosovitskiy et al. 2021), with any module in the place of its MLP blocks.
//
//   image [C*H*W] -> patches -> + positions -> depth x block -> norm -> pool -> logits [classes]
//
// `Mlp` is named<"mlp", mlp_block<T>> for the dense model, named<"moe", layer<Spec, Backend>> for a Mixture of Experts.
//
//   using dense = named<"mlp", mlp_block<float>>;
//   vit<dense> model(vit_config<dense>(vit_named("Ti/16")));
#pragma once

#include "encoder_block.hpp"
#include "mixed_blocks.hpp"
#include "patch_embed.hpp"
#include "pool.hpp"
#include "positions.hpp"
#include "repeat.hpp"
#include "vit_sizes.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Everything around the blocks, which are any module that keeps tokens and width.  `Head` takes an image's features to
/// its classes: a linear layer, or head experts (placement::head()).
template <class Blocks, class T = typename Blocks::scalar, class B = typename Blocks::backend,
          class Head = named<"head", linear<T, B>>>
using vit_of = sequential<named<"patch_embed", patch_embed<T, B>>, named<"", positions<T, B>>, named<"blocks", Blocks>,
                          named<"norm", layer_norm<T, B>>, named<"", pool<T, B>>, Head>;
// T and B come from Mlp: nvcc spells a kernel's types by the first name they had, and cannot
// spell one with a text in it.
template <class Mlp, class T = typename Mlp::scalar, class B = typename Mlp::backend>
using vit = vit_of<repeat<encoder_block<Mlp>>, T, B>;
/// `Dense` in most blocks and `Moe` where a placement says so.
template <class Dense, class Moe, class T = typename Dense::scalar, class B = typename Dense::backend>
using mixed_vit = vit_of<mixed_blocks<encoder_block<Dense>, encoder_block<Moe>>, T, B>;

namespace detail {
template <class Mlp, class T = typename Mlp::scalar, class B = typename Mlp::backend>
constexpr typename encoder_block<Mlp>::config vit_block(const vit_sizes& s, const typename Mlp::config& mlp) {
  typename attention<T, B>::config heads;
  heads.dim = s.dim, heads.heads = s.heads, heads.tokens = s.tokens(), heads.products = s.products;
  typename Mlp::config second = mlp;
  if constexpr (requires { second.products; })
    if (s.products != float_products::exact) second.products = s.products;
  return encoder_config<Mlp>(heads, second);
}
template <class T, class B>
constexpr typename linear<T, B>::config vit_head(const vit_sizes& s) {
  typename linear<T, B>::config head;
  head.in = s.dim, head.out = s.classes, head.init = linear_init::zeros, head.products = s.products;
  return head;
}
/// Of the dense MLP blocks.
template <class Mlp>
constexpr typename Mlp::config vit_mlp(const vit_sizes& s) {
  typename Mlp::config mlp;
  mlp.dim = s.dim, mlp.hidden = s.mlp_hidden();
  return mlp;
}
}  // namespace detail

template <class Blocks, class T = typename Blocks::scalar, class B = typename Blocks::backend,
          class Head = named<"head", linear<T, B>>>
constexpr typename vit_of<Blocks, T, B, Head>::config vit_of_config(const vit_sizes& s,
                                                                    const typename Blocks::config& blocks,
                                                                    const typename Head::config& head) {
  const index all = s.tokens(), patches = all - (s.class_token ? 1 : 0);
  typename patch_embed<T, B>::config patch{s.channels, s.height, s.width, s.patch, s.stride, s.padding, s.dim};
  patch.products = s.products;
  return {{patch,
           typename positions<T, B>::config{s.dim, patches, s.class_token},
           blocks,
           typename layer_norm<T, B>::config{s.dim},
           typename pool<T, B>::config{s.dim, all, s.class_token ? pool_kind::first : pool_kind::mean},
           head}};
}
template <class Blocks, class T = typename Blocks::scalar, class B = typename Blocks::backend>
constexpr typename vit_of<Blocks, T, B>::config vit_of_config(const vit_sizes& s,
                                                              const typename Blocks::config& blocks) {
  return vit_of_config<Blocks, T, B>(s, blocks, detail::vit_head<T, B>(s));
}
template <class Mlp, class T = typename Mlp::scalar, class B = typename Mlp::backend>
constexpr typename vit<Mlp>::config vit_config(const vit_sizes& s, const typename Mlp::config& mlp) {
  typename repeat<encoder_block<Mlp>>::config blocks;
  blocks.block = detail::vit_block<Mlp>(s, mlp), blocks.count = s.depth;
  return vit_of_config<repeat<encoder_block<Mlp>>, T, B>(s, blocks);
}
/// Of one dense block alone.
template <class Mlp>
constexpr typename encoder_block<Mlp>::config vit_block_config(const vit_sizes& s) {
  return detail::vit_block<Mlp>(s, detail::vit_mlp<Mlp>(s));
}
/// Of a dense model: MLP blocks as wide as the sizes say.
template <class Mlp>
constexpr typename vit<Mlp>::config vit_config(const vit_sizes& s) {
  return vit_config<Mlp>(s, detail::vit_mlp<Mlp>(s));
}
/// Of the blocks of a mixed_vit alone: `dense` and, where `where` says, `moe`.
template <class Dense, class Moe>
constexpr typename mixed_blocks<encoder_block<Dense>, encoder_block<Moe>>::config mixed_vit_blocks(
    const vit_sizes& s, const typename Dense::config& dense, const typename Moe::config& moe, placement where) {
  typename mixed_blocks<encoder_block<Dense>, encoder_block<Moe>>::config blocks;
  blocks.plain = detail::vit_block<Dense>(s, dense), blocks.special = detail::vit_block<Moe>(s, moe);
  blocks.count = s.depth, blocks.special_at = where;
  return blocks;
}
template <class Dense, class Moe, class T = typename Dense::scalar, class B = typename Dense::backend>
constexpr typename mixed_vit<Dense, Moe>::config mixed_vit_config(const vit_sizes& s,
                                                                  const typename Dense::config& dense,
                                                                  const typename Moe::config& moe, placement where) {
  using blocks = mixed_blocks<encoder_block<Dense>, encoder_block<Moe>>;
  return vit_of_config<blocks, T, B>(s, mixed_vit_blocks<Dense, Moe>(s, dense, moe, where));
}
/// With dense blocks as wide as the sizes say.
template <class Dense, class Moe>
constexpr typename mixed_vit<Dense, Moe>::config mixed_vit_config(const vit_sizes& s, const typename Moe::config& moe,
                                                                  placement where) {
  return mixed_vit_config<Dense, Moe>(s, detail::vit_mlp<Dense>(s), moe, where);
}

}  // namespace nn
}  // namespace polymoe
