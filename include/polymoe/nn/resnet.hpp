// ResNets of basic blocks for small images (He et al. 2016): a 3 x 3 stem without pooling, four
// stages, the mean of the map.
//
//   image [C*H*W] -> pixels -> conv1, bn1, relu -> layer1 .. layer4 -> mean over the map [base * 8] -> head
//
// With the default sizes it is the ResNet-18 of CIFAR papers: 11,168,832 parameters and 555,417,600 MACs of a 32 x 32
// image before the head; parameters are named as in torchvision.
//
// Blocks are numbered through all stages, 0 to 7 in ResNet-18.  A placement may put experts into those that keep the
// size of their maps (all but the first of stages 2 to 4; "every-2" is all of them in ResNet-18 but block 0):
//
//   using moe = named<"moe", layer<Spec, cpu>>;                    Spec: unit::feature_map, expert::conv_block<>
//   using blocks = resnet_blocks<expert_block<moe>>;
//   const auto c = mixed_resnet_config<expert_block<moe>>(sizes, placement::last(1, sizes.depth()), [](map_sizes m) {
//     return expert_block_config<moe>({.dim = m.channels, .hidden = m.channels, .experts = 8, .unit_rows = m.pixels(),
//                                      .map_height = m.height}, m);
//   });
//   resnet_features<float, cpu, blocks> model(c);
#pragma once

#include <array>

#include "activation.hpp"
#include "batch_norm.hpp"
#include "branches.hpp"
#include "conv2d.hpp"
#include "linear.hpp"
#include "mixed_blocks.hpp"
#include "pixels.hpp"
#include "pool.hpp"
#include "repeat.hpp"
#include "residual.hpp"
#include "sequential.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// conv1, bn1, relu, conv2, bn2: what a basic block adds to its shortcut.
template <class T, class B = cpu>
using basic_path =
    sequential<named<"conv1", conv2d<T, B>>, named<"bn1", batch_norm<T, B>>, named<"", activation<act::relu, T, B>>,
               named<"conv2", conv2d<T, B>>, named<"bn2", batch_norm<T, B>>>;

/// relu(x + path(x)), [maps, D] -> [maps, D].
template <class T, class B = cpu>
using basic_block = sequential<named<"", residual<basic_path<T, B>>>, named<"", activation<act::relu, T, B>>>;

/// relu(downsample(x) + path(x)): half the size of the map, another width; downsample is a
/// 1 x 1 convolution and a norm.
template <class T, class B = cpu>
using down_block = sequential<
    named<"", branches<basic_path<T, B>,
                       named<"downsample", sequential<named<"0", conv2d<T, B>>, named<"1", batch_norm<T, B>>>>>>,
    named<"", activation<act::relu, T, B>>>;

/// relu(x + Moe(x)): experts in place of both convolutions of a basic block.  Maps are not negative here, so one that
/// finds no place passes unchanged.  `Moe` has a name, for example named<"moe", layer<Spec, B>>.
template <class Moe, class T = typename Moe::scalar, class B = typename Moe::backend>
using expert_block = sequential<named<"", residual<sequential<Moe>>>, named<"", activation<act::relu, T, B>>>;

/// relu(x + Moe(relu(bn1(conv1(x))))): experts in place of the second convolution and its norm.
template <class Moe, class T = typename Moe::scalar, class B = typename Moe::backend>
using half_expert_block =
    sequential<named<"", residual<sequential<named<"conv1", conv2d<T, B>>, named<"bn1", batch_norm<T, B>>,
                                             named<"", activation<act::relu, T, B>>, Moe>>>,
               named<"", activation<act::relu, T, B>>>;

/// Basic blocks and, where a placement says so, `Special` ones.
template <class Special, class T = typename Special::scalar, class B = typename Special::backend>
using resnet_blocks = mixed_blocks<basic_block<T, B>, Special>;

/// One down block, then blocks that keep their size: repeat<basic_block> or resnet_blocks.
template <class Blocks, class T = typename Blocks::scalar, class B = typename Blocks::backend>
using resnet_stage = sequential<named<"0", down_block<T, B>>, named<"", Blocks>>;

/// The network without a head: images to feature vectors.
template <class T, class B = cpu, class Blocks = repeat<basic_block<T, B>>>
using resnet_features =
    sequential<named<"", pixels<T, B>>, named<"conv1", conv2d<T, B>>, named<"bn1", batch_norm<T, B>>,
               named<"", activation<act::relu, T, B>>, named<"layer1", Blocks>,
               named<"layer2", resnet_stage<Blocks, T, B>>, named<"layer3", resnet_stage<Blocks, T, B>>,
               named<"layer4", resnet_stage<Blocks, T, B>>, named<"", pool<T, B>>>;

/// Features and `Head`, whose parameters start with its own name; a linear head under the
/// name "fc" is the plain ResNet.
template <class Head, class T = typename Head::scalar, class B = typename Head::backend,
          class Blocks = repeat<basic_block<T, B>>>
using resnet = sequential<named<"", resnet_features<T, B, Blocks>>, Head>;

/// Of the maps that a block keeps.
struct map_sizes {
  index channels = 0, height = 0, width = 0;
  constexpr index pixels() const { return height * width; }
};

struct resnet_sizes {
  index channels = 3, height = 32, width = 32;
  index base = 64;                          ///< channels of the first stage; each stage doubles them
  std::array<index, 4> blocks{2, 2, 2, 2};  ///< basic blocks of a stage, at least 2: ResNet-18; {3, 4, 6, 3}: ResNet-34

  constexpr index features() const { return 8 * base; }
  /// Blocks of all stages.
  constexpr index depth() const { return blocks[0] + blocks[1] + blocks[2] + blocks[3]; }
  /// Height or width of the maps of stage 0..3.
  static constexpr index size_at(index size, int stage) {
    for (int i = 0; i < stage; ++i) size = (size + 1) / 2;
    return size;
  }
  constexpr index height_at(int stage) const { return size_at(height, stage); }
  constexpr index width_at(int stage) const { return size_at(width, stage); }
  constexpr map_sizes maps_at(int stage) const { return {base << stage, height_at(stage), width_at(stage)}; }
};

namespace detail {
/// A convolution without bias in He's initialisation, as before every norm.
template <class T, class B>
constexpr typename conv2d<T, B>::config norm_conv(index in, index out, index height, index width, index kernel,
                                                  index stride) {
  typename conv2d<T, B>::config c{in, out, height, width, kernel, stride, kernel / 2, false};
  c.init = conv_init::he;
  return c;
}
template <class T, class B>
constexpr typename basic_path<T, B>::config path_config(index in, index out, index height, index width, index stride) {
  const auto first = norm_conv<T, B>(in, out, height, width, 3, stride);
  return {{first,
           typename batch_norm<T, B>::config{out},
           typename activation<act::relu, T, B>::config{out},
           norm_conv<T, B>(out, out, first.out_height(), first.out_width(), 3, 1),
           typename batch_norm<T, B>::config{out}}};
}
}  // namespace detail

/// A basic block on maps of `width_` channels.
template <class T, class B = cpu>
constexpr typename basic_block<T, B>::config basic_block_config(index channels, index height, index width) {
  return {{detail::path_config<T, B>(channels, channels, height, width, 1), {channels}}};
}
/// The block that starts a stage.
template <class T, class B = cpu>
constexpr typename down_block<T, B>::config down_block_config(index in, index out, index height, index width) {
  typename branches<basic_path<T, B>,
                    named<"downsample", sequential<named<"0", conv2d<T, B>>, named<"1", batch_norm<T, B>>>>>::config
      both;
  both.main = detail::path_config<T, B>(in, out, height, width, 2);
  both.side = {{detail::norm_conv<T, B>(in, out, height, width, 1, 2), typename batch_norm<T, B>::config{out}}};
  return {{both, {out}}};
}

/// The blocks that hold `moe`, on maps that they keep.
template <class Moe>
constexpr typename expert_block<Moe>::config expert_block_config(const typename Moe::config& moe, const map_sizes& m) {
  typename expert_block<Moe>::config c;
  std::get<0>(std::get<0>(c.parts).parts) = moe, std::get<1>(c.parts) = {m.channels};
  return c;
}
template <class Moe, class T = typename Moe::scalar, class B = typename Moe::backend>
constexpr typename half_expert_block<Moe>::config half_expert_block_config(const typename Moe::config& moe,
                                                                           const map_sizes& m) {
  typename half_expert_block<Moe>::config c;
  auto& path = std::get<0>(c.parts).parts;
  std::get<0>(path) = detail::norm_conv<T, B>(m.channels, m.channels, m.height, m.width, 3, 1);
  std::get<1>(path) = typename batch_norm<T, B>::config{m.channels};
  std::get<2>(path) = {m.channels}, std::get<3>(path) = moe;
  std::get<1>(c.parts) = {m.channels};
  return c;
}

namespace detail {
/// `blocks(stage, sizes of its maps, number of blocks, number in the name of the first)` configures the blocks of a
/// stage that keep their size.
template <class T, class B, class Blocks, class F>
constexpr typename resnet_features<T, B, Blocks>::config resnet_of(const resnet_sizes& s, const F& blocks) {
  const auto kept = [&](int i) {
    const index first = i > 0 ? 1 : 0;
    return blocks(i, s.maps_at(i), s.blocks[static_cast<std::size_t>(i)] - first, first);
  };
  const auto stage = [&](int i) {
    const index out = s.base << i;
    typename resnet_stage<Blocks, T, B>::config c;
    std::get<0>(c.parts) = down_block_config<T, B>(out / 2, out, s.height_at(i - 1), s.width_at(i - 1));
    std::get<1>(c.parts) = kept(i);
    return c;
  };
  return {{typename pixels<T, B>::config{s.channels, s.height, s.width},
           norm_conv<T, B>(s.channels, s.base, s.height, s.width, 3, 1),
           typename batch_norm<T, B>::config{s.base},
           {s.base},
           kept(0),
           stage(1),
           stage(2),
           stage(3),
           typename pool<T, B>::config{s.features(), s.height_at(3) * s.width_at(3)}}};
}
template <class T, class B>
constexpr typename basic_block<T, B>::config basic_block_on(const map_sizes& m) {
  return basic_block_config<T, B>(m.channels, m.height, m.width);
}
}  // namespace detail

template <class T, class B = cpu>
constexpr typename resnet_features<T, B>::config resnet_features_config(const resnet_sizes& s) {
  using blocks = repeat<basic_block<T, B>>;
  return detail::resnet_of<T, B, blocks>(s, [](int, const map_sizes& m, index count, index first) {
    return typename blocks::config{detail::basic_block_on<T, B>(m), count, first};
  });
}

/// With `Special` blocks where `where` says, which is a placement among s.depth() blocks; `special(map_sizes)`
/// configures one on maps of that size.  Throws polymoe::error where a placement names a block that
/// changes the size of its maps.
template <class Special, class T = typename Special::scalar, class B = typename Special::backend, class F>
constexpr typename resnet_features<T, B, resnet_blocks<Special>>::config mixed_resnet_config(
    const resnet_sizes& s, placement where, const F& special) {
  if (where.reach() > s.depth())
    polymoe::detail::fail("resnet: experts in block ", where.reach() - 1, ", the last of ", s.depth(), " blocks is ",
                          s.depth() - 1);
  using blocks = resnet_blocks<Special>;
  return detail::resnet_of<T, B, blocks>(s, [&](int stage, const map_sizes& m, index count, index first) {
    index before = 0;
    for (int i = 0; i < stage; ++i) before += s.blocks[static_cast<std::size_t>(i)];
    if (first > 0 && where[before])
      polymoe::detail::fail("resnet: experts in block ", before, ", the first of stage ", stage + 1,
                            ", which takes maps of ", m.channels / 2, " channels to ", m.channels,
                            "; experts keep the size of their maps");
    typename blocks::config c;
    c.plain = detail::basic_block_on<T, B>(m), c.special = special(m);
    c.count = count, c.special_at = where.part(before + first, count), c.first = first;
    return c;
  });
}

}  // namespace nn
}  // namespace polymoe
