// expert::depthwise_block<Act, Kernel, Groups>: y = W2 act(W1 norm(depthwise(x)) + b1) + b2 on whole feature maps: one
// filter per channel, then an MLP on every pixel (the block of ConvNeXt, Liu et al. 2022, with a group norm).
//
// Names, as ConvNeXt's: experts.<e>.dwconv.weight [D, 1, Kernel, Kernel], .dwconv.bias [D], .norm.weight [D],
// .norm.bias [D], .pwconv1.weight [H, D], .pwconv1.bias [H], .pwconv2.weight [D, H], .pwconv2.bias [D].
#pragma once

#include "activation.hpp"
#include "map_expert.hpp"

namespace polymoe::inline v0 {
namespace detail {

template <class Act, index Kernel, index Groups>
struct depthwise_block_maths {
  static constexpr const char* name = "depthwise_block";
  static constexpr index groups = Groups;
  enum { spatial, normed, pre, hidden, kept };
  enum { dwconv, pwconv1, pwconv2, maps };

  static constexpr index width(int i, const expert_config& c) { return i == spatial || i == normed ? c.in : c.hidden; }
  static constexpr index norm_channels(const expert_config& c) { return c.in; }
  static constexpr conv_map map(int i, const expert_config& c) {
    if (i == dwconv) return {"dwconv", c.in, c.in, Kernel, true, true, false, linear_map::end, spatial};
    if (i == pwconv1) return {"pwconv1", c.in, c.hidden, 1, false, true, true, normed, pre};
    return {"pwconv2", c.hidden, c.out, 1, false, true, true, hidden, linear_map::end};
  }
  template <class Tile>
  static void forward(const Tile& t) {
    t.apply(dwconv, t.x(), t.kept(spatial));
    t.norm(t.kept(spatial), t.kept(normed), act::identity{});
    t.apply(pwconv1, t.kept(normed), t.kept(pre));
    t.activate(t.kept(pre), t.kept(hidden), Act{});
    t.apply(pwconv2, t.kept(hidden), t.y());
  }
  template <class Tile>
  static void backward(const Tile& t) {
    const auto d_hidden = t.spare(0, t.kept(hidden).cols), d_normed = t.spare(1, t.kept(normed).cols);
    t.data_gradient(pwconv2, t.dy(), d_hidden);
    t.activate_backward(d_hidden, t.kept(pre), t.kept(pre), Act{});
    t.data_gradient(pwconv1, t.kept(pre), d_normed);
    t.norm_backward(d_normed, t.kept(spatial), act::identity{});
    t.data_gradient(dwconv, t.kept(spatial), t.dx());
  }
};

}  // namespace detail

namespace expert {
/// Kernel is odd, so that a map keeps its size; D has to be a multiple of Groups.  For units that are maps:
/// unit::feature_map.
template <class Act = act::gelu_tanh, index Kernel = 3, index Groups = 1>
struct depthwise_block {
  static_assert(Kernel % 2 == 1 && Groups >= 1,
                "polymoe: a depthwise block needs an odd kernel, so that a map keeps its size, and at least one group");
  static constexpr const char* name = "depthwise_block";
  static constexpr bool head_of_classes = false;
  static constexpr bool convolves = true;  ///< needs a backend with convolutions and units that are maps
  template <class T, class Backend>
  using module = polymoe::detail::map_expert<polymoe::detail::depthwise_block_maths<Act, Kernel, Groups>, T, Backend>;
};
}  // namespace expert
}  // namespace polymoe
