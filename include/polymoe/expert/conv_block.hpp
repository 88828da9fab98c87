// expert::conv_block<Act, Groups, Residual>: y = conv2(act(norm(conv1(x)))) (+ x with Residual) on whole feature maps,
// both convolutions 3 x 3 with one pixel of padding, D -> H -> D channels.
//
// The residual is inside the expert, so it is weighted like the rest of its output; a layer in nn::residual adds the
// input once and whole, which is what a block whose dropped maps must pass through needs.
//
// Names: experts.<e>.conv1.weight [H, D, 3, 3], .norm.weight [H], .norm.bias [H], .conv2.weight [D, H, 3, 3],
// .conv2.bias [D].  Group normalisation (Wu & He 2018) because an expert sees other maps in every step, sometimes one.
#pragma once

#include "activation.hpp"
#include "map_expert.hpp"

namespace polymoe::inline v0 {
namespace detail {

template <class Act, index Groups, bool Residual>
struct conv_block_maths {
  static constexpr const char* name = "conv_block";
  static constexpr index groups = Groups;
  enum { pre, hidden, kept };
  enum { conv1, conv2, maps };

  static constexpr index width(int, const expert_config& c) { return c.hidden; }
  static constexpr index norm_channels(const expert_config& c) { return c.hidden; }
  static constexpr conv_map map(int i, const expert_config& c) {
    if (i == conv1) return {"conv1", c.in, c.hidden, 3, false, false, false, linear_map::end, pre};
    return {"conv2", c.hidden, c.out, 3, false, true, false, hidden, linear_map::end};
  }
  template <class Tile>
  static void forward(const Tile& t) {
    t.apply(conv1, t.x(), t.kept(pre));
    t.norm(t.kept(pre), t.kept(hidden), Act{});
    t.apply(conv2, t.kept(hidden), t.y());
    if constexpr (Residual) t.add(t.x(), t.y());
  }
  template <class Tile>
  static void backward(const Tile& t) {
    const auto d_hidden = t.spare(0, t.kept(hidden).cols);
    t.data_gradient(conv2, t.dy(), d_hidden);
    t.norm_backward(d_hidden, t.kept(pre), Act{});
    t.data_gradient(conv1, t.kept(pre), t.dx());
    if constexpr (Residual) t.add(t.dy(), t.dx());
  }
};

}  // namespace detail

namespace expert {
/// H has to be a multiple of Groups.  For units that are maps: unit::feature_map.
template <class Act = act::relu, index Groups = 8, bool Residual = false>
struct conv_block {
  static_assert(Groups >= 1, "polymoe: a group norm needs at least one group");
  static constexpr const char* name = "conv_block";
  static constexpr bool head_of_classes = false;
  static constexpr bool convolves = true;  ///< needs a backend with convolutions and units that are maps
  template <class T, class Backend>
  using module = polymoe::detail::map_expert<polymoe::detail::conv_block_maths<Act, Groups, Residual>, T, Backend>;
};
}  // namespace expert
}  // namespace polymoe
