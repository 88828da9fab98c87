// A small convolution network whose body is blocks of one hidden width, dense or with experts: the compute that experts
// can take over is a matter of that width (paper A's sweep).
//
//   image [C*H*W] -> pixels -> stage1, stage2 -> blocks x (m + block(norm(m))) -> mean over the map -> head
//
// A stage is a 3 x 3 convolution, norm, ReLU, half the height and width.  A block is conv_path, of standard
// convolutions, or depthwise_path, depthwise-separable; what expert::conv_block and expert::depthwise_block compute,
// with the same names, so that upcycle() makes experts of it.  Paper A does not publish its networks; this is ours.
//
//   using dense = named<"mlp", conv_path<float>>;
//   constexpr small_cnn_sizes s{.hidden = 64};
//   small_cnn<dense> model(small_cnn_config<dense>(s, conv_path_config<float>(s)));
#pragma once

#include "activation.hpp"
#include "conv2d.hpp"
#include "group_norm.hpp"
#include "linear.hpp"
#include "mixed_blocks.hpp"
#include "pixels.hpp"
#include "pool.hpp"
#include "pool2d.hpp"
#include "repeat.hpp"
#include "residual.hpp"
#include "sequential.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// 3 x 3 convolution, norm, ReLU, half the height and width.
template <class T, class B = cpu>
using cnn_stage = sequential<named<"conv", conv2d<T, B>>, named<"norm", group_norm<T, B>>,
                             named<"", activation<act::relu, T, B>>, named<"", pool2d<T, B>>>;

/// conv 3 x 3 [D to H], norm, ReLU, conv 3 x 3 [H to D]: a dense expert::conv_block<>.
template <class T, class B = cpu>
using conv_path = sequential<named<"conv1", conv2d<T, B>>, named<"norm", group_norm<T, B>>,
                             named<"", activation<act::relu, T, B>>, named<"conv2", conv2d<T, B>>>;

/// Depthwise conv 3 x 3, norm, two pointwise layers [D to H to D] around GELU: a dense expert::depthwise_block<>.
template <class T, class B = cpu>
using depthwise_path =
    sequential<named<"dwconv", conv2d<T, B>>, named<"norm", group_norm<T, B>>, named<"pwconv1", linear<T, B>>,
               named<"", activation<act::gelu_tanh, T, B>>, named<"pwconv2", linear<T, B>>>;

/// m + Inner(norm(m)); `Inner` has a name, "mlp" for a dense path, "moe" for a layer of experts.
template <class Inner, class T = typename Inner::scalar, class B = typename Inner::backend>
using cnn_block = residual<sequential<named<"norm", group_norm<T, B>>, Inner>>;

/// Everything around the blocks, which are any module that keeps maps.
template <class Blocks, class T = typename Blocks::scalar, class B = typename Blocks::backend,
          class Head = named<"head", linear<T, B>>>
using small_cnn_of = sequential<named<"", pixels<T, B>>, named<"stage1", cnn_stage<T, B>>,
                                named<"stage2", cnn_stage<T, B>>, named<"body", Blocks>, named<"", pool<T, B>>, Head>;
template <class Path, class T = typename Path::scalar, class B = typename Path::backend>
using small_cnn = small_cnn_of<repeat<cnn_block<Path>>, T, B>;
/// `Dense` in the body's blocks and `Moe` where a placement says so.
template <class Dense, class Moe, class T = typename Dense::scalar, class B = typename Dense::backend>
using mixed_small_cnn = small_cnn_of<mixed_blocks<cnn_block<Dense>, cnn_block<Moe>>, T, B>;

struct small_cnn_sizes {
  index channels = 3, height = 32, width = 32;  ///< of the images; multiples of 4
  index base = 32;     ///< channels of the first stage, a multiple of 8; the second and the body have twice as many
  index blocks = 2;    ///< of the body
  index hidden = 128;  ///< H of a dense block; a multiple of 8 for conv_path
  index classes = 10;

  constexpr index body() const { return 2 * base; }
  constexpr index map_height() const { return height / 4; }
  constexpr index map_width() const { return width / 4; }
  constexpr index pixels() const { return map_height() * map_width(); }
};

namespace detail {
template <class T, class B>
constexpr typename cnn_stage<T, B>::config cnn_stage_config(index in, index out, index height, index width) {
  typename conv2d<T, B>::config conv{in, out, height, width, 3, 1, 1, false};
  conv.init = conv_init::he;
  return {{conv, typename group_norm<T, B>::config{out, 8, height * width},
           typename activation<act::relu, T, B>::config{out}, typename pool2d<T, B>::config{out, height, width, 2}}};
}
template <class T, class B>
constexpr typename conv2d<T, B>::config cnn_conv(const small_cnn_sizes& s, index in, index out, bool bias,
                                                 bool depthwise) {
  return {in, out, s.map_height(), s.map_width(), 3, 1, 1, bias, depthwise};
}
}  // namespace detail

template <class T, class B = cpu>
constexpr typename conv_path<T, B>::config conv_path_config(const small_cnn_sizes& s) {
  return {{detail::cnn_conv<T, B>(s, s.body(), s.hidden, false, false),
           typename group_norm<T, B>::config{s.hidden, 8, s.pixels()},
           typename activation<act::relu, T, B>::config{s.hidden},
           detail::cnn_conv<T, B>(s, s.hidden, s.body(), true, false)}};
}
template <class T, class B = cpu>
constexpr typename depthwise_path<T, B>::config depthwise_path_config(const small_cnn_sizes& s) {
  return {
      {detail::cnn_conv<T, B>(s, s.body(), s.body(), true, true),
       typename group_norm<T, B>::config{s.body(), 1, s.pixels()}, typename linear<T, B>::config{s.body(), s.hidden},
       typename activation<act::gelu_tanh, T, B>::config{s.hidden}, typename linear<T, B>::config{s.hidden, s.body()}}};
}

/// A block around `inner`.
template <class Inner>
constexpr typename cnn_block<Inner>::config cnn_block_config(const small_cnn_sizes& s,
                                                             const typename Inner::config& inner) {
  typename cnn_block<Inner>::config c;
  std::get<0>(c.parts) = {s.body(), 8, s.pixels()}, std::get<1>(c.parts) = inner;
  return c;
}
template <class Blocks, class T = typename Blocks::scalar, class B = typename Blocks::backend,
          class Head = named<"head", linear<T, B>>>
constexpr typename small_cnn_of<Blocks, T, B, Head>::config small_cnn_of_config(const small_cnn_sizes& s,
                                                                                const typename Blocks::config& blocks,
                                                                                const typename Head::config& head) {
  if (s.height % 4 != 0 || s.width % 4 != 0)
    polymoe::detail::fail("small_cnn: images of ", s.height, " x ", s.width, " cannot be halved twice");
  return {{typename pixels<T, B>::config{s.channels, s.height, s.width},
           detail::cnn_stage_config<T, B>(s.channels, s.base, s.height, s.width),
           detail::cnn_stage_config<T, B>(s.base, s.body(), s.height / 2, s.width / 2), blocks,
           typename pool<T, B>::config{s.body(), s.pixels()}, head}};
}
template <class Blocks, class T = typename Blocks::scalar, class B = typename Blocks::backend>
constexpr typename small_cnn_of<Blocks, T, B>::config small_cnn_of_config(const small_cnn_sizes& s,
                                                                          const typename Blocks::config& blocks) {
  typename linear<T, B>::config head{s.body(), s.classes};
  head.init = linear_init::zeros;
  return small_cnn_of_config<Blocks, T, B>(s, blocks, head);
}
/// Of a dense network; `path` is conv_path_config(s) or depthwise_path_config(s).
template <class Path, class T = typename Path::scalar, class B = typename Path::backend>
constexpr typename small_cnn<Path>::config small_cnn_config(const small_cnn_sizes& s,
                                                            const typename Path::config& path) {
  using blocks = repeat<cnn_block<Path>>;
  return small_cnn_of_config<blocks, T, B>(s, typename blocks::config{cnn_block_config<Path>(s, path), s.blocks});
}
/// The blocks of a mixed_small_cnn alone: `dense` and, where `where` says, `moe`.
template <class Dense, class Moe>
constexpr typename mixed_blocks<cnn_block<Dense>, cnn_block<Moe>>::config mixed_small_cnn_blocks(
    const small_cnn_sizes& s, const typename Dense::config& dense, const typename Moe::config& moe, placement where) {
  return {cnn_block_config<Dense>(s, dense), cnn_block_config<Moe>(s, moe), s.blocks, where};
}
template <class Dense, class Moe, class T = typename Dense::scalar, class B = typename Dense::backend>
constexpr typename mixed_small_cnn<Dense, Moe>::config mixed_small_cnn_config(const small_cnn_sizes& s,
                                                                              const typename Dense::config& dense,
                                                                              const typename Moe::config& moe,
                                                                              placement where) {
  using blocks = mixed_blocks<cnn_block<Dense>, cnn_block<Moe>>;
  return small_cnn_of_config<blocks, T, B>(s, mixed_small_cnn_blocks<Dense, Moe>(s, dense, moe, where));
}

}  // namespace nn
}  // namespace polymoe
