// ResNets of basic blocks for small images (He et al. 2016): a 3 x 3 stem without pooling, four stages, the mean of the map.
//
//   image [C*H*W] -> pixels -> conv1, bn1, relu -> layer1 .. layer4 -> mean over the map [base * 8] -> head
//
// With the default sizes it is the ResNet-18 of CIFAR papers: 11,168,832 parameters and 555,417,600 MACs of a 32 x 32
// image before the head; parameters are named as in torchvision.  `Deep` is what the blocks of the last stage are that
// keep their size: basic_block, or a residual Mixture-of-Experts layer of convolution experts.
#pragma once

#include <array>

#include "activation.hpp"
#include "batch_norm.hpp"
#include "branches.hpp"
#include "conv2d.hpp"
#include "linear.hpp"
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

/// relu(downsample(x) + path(x)): half the size of the map, another width; downsample is a 1 x 1 convolution and a norm.
template <class T, class B = cpu>
using down_block = sequential<
    named<"", branches<basic_path<T, B>,
                       named<"downsample", sequential<named<"0", conv2d<T, B>>, named<"1", batch_norm<T, B>>>>>>,
    named<"", activation<act::relu, T, B>>>;

/// One down block, then blocks that keep their size.
template <class Block, class T = typename Block::scalar, class B = typename Block::backend>
using resnet_stage = sequential<named<"0", down_block<T, B>>, named<"", repeat<Block>>>;

/// The network without a head: images to feature vectors.
template <class T, class B = cpu, class Deep = basic_block<T, B>>
using resnet_features =
    sequential<named<"", pixels<T, B>>, named<"conv1", conv2d<T, B>>, named<"bn1", batch_norm<T, B>>,
               named<"", activation<act::relu, T, B>>, named<"layer1", repeat<basic_block<T, B>>>,
               named<"layer2", resnet_stage<basic_block<T, B>>>, named<"layer3", resnet_stage<basic_block<T, B>>>,
               named<"layer4", resnet_stage<Deep, T, B>>, named<"", pool<T, B>>>;

/// Features and `Head`, whose parameters start with its own name; a linear head under the name "fc" is the plain ResNet.
template <class Head, class T = typename Head::scalar, class B = typename Head::backend, class Deep = basic_block<T, B>>
using resnet = sequential<named<"", resnet_features<T, B, Deep>>, Head>;

struct resnet_sizes {
  index channels = 3, height = 32, width = 32;
  index base = 64;                          ///< channels of the first stage; each stage doubles them
  std::array<index, 4> blocks{2, 2, 2, 2};  ///< basic blocks of a stage, at least 2: ResNet-18; {3, 4, 6, 3}: ResNet-34

  constexpr index features() const { return 8 * base; }
  /// Height or width of the maps of stage 0..3.
  static constexpr index size_at(index size, int stage) {
    for (int i = 0; i < stage; ++i) size = (size + 1) / 2;
    return size;
  }
  constexpr index height_at(int stage) const { return size_at(height, stage); }
  constexpr index width_at(int stage) const { return size_at(width, stage); }
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
                    named<"downsample", sequential<named<"0", conv2d<T, B>>, named<"1", batch_norm<T, B>>>>>::config both;
  both.main = detail::path_config<T, B>(in, out, height, width, 2);
  both.side = {{detail::norm_conv<T, B>(in, out, height, width, 1, 2), typename batch_norm<T, B>::config{out}}};
  return {{both, {out}}};
}

/// `deep` configures the last stage's blocks after its first, which see maps of features() channels, height_at(3) x
/// width_at(3).
template <class T, class B = cpu, class Deep = basic_block<T, B>>
constexpr typename resnet_features<T, B, Deep>::config resnet_features_config(const resnet_sizes& s,
                                                                             typename Deep::config deep) {
  const auto stage = [&]<class Block>(int i, typename Block::config block) {
    const index out = s.base << i;
    typename resnet_stage<Block, T, B>::config c;
    std::get<0>(c.parts) = down_block_config<T, B>(out / 2, out, s.height_at(i - 1), s.width_at(i - 1));
    std::get<1>(c.parts) = typename repeat<Block>::config{block, s.blocks[static_cast<std::size_t>(i)] - 1, 1};
    return c;
  };
  const auto plain = [&](int i) { return basic_block_config<T, B>(s.base << i, s.height_at(i), s.width_at(i)); };
  using basic = basic_block<T, B>;
  return {{typename pixels<T, B>::config{s.channels, s.height, s.width},
           detail::norm_conv<T, B>(s.channels, s.base, s.height, s.width, 3, 1),
           typename batch_norm<T, B>::config{s.base},
           {s.base},
           typename repeat<basic>::config{plain(0), s.blocks[0], 0},
           stage.template operator()<basic>(1, plain(1)),
           stage.template operator()<basic>(2, plain(2)),
           stage.template operator()<Deep>(3, deep),
           typename pool<T, B>::config{s.features(), s.height_at(3) * s.width_at(3)}}};
}
template <class T, class B = cpu>
constexpr typename resnet_features<T, B>::config resnet_features_config(const resnet_sizes& s) {
  return resnet_features_config<T, B, basic_block<T, B>>(
      s, basic_block_config<T, B>(s.features(), s.height_at(3), s.width_at(3)));
}

}  // namespace nn
}  // namespace polymoe
