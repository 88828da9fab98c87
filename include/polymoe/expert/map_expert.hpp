// The frame of experts that compute on feature maps: convolutions that keep a map's size, one group norm, elementwise
// functions.  An expert writes its maths for some whole maps, the frame does the rest (parameters, memory, loops,
// weight gradients, counting), like `tiled_expert` does for rows.
//
// The maths of an expert is a struct without members:
//
//   static constexpr const char* name            for messages
//   static constexpr int kept, maps              tensors that live from forward to backward; convolutions
//   static constexpr index width(int i, const expert_config&)        channels of kept tensor i
//   static constexpr conv_map map(int i, const expert_config&)       name, sizes, operands of its weight gradient
//   static constexpr index groups                groups of the norm
//   static constexpr index norm_channels(const expert_config&)
//   template <class Tile> static void forward(const Tile&), backward(const Tile&)
//
// and a tile offers x(), y(), dy(), dx(), kept(i), spare(i) (i = 0, 1: backward only, any width up to the widest), and
//
//   apply(i, in, out), data_gradient(i, d_out, d_in)
//   norm(in, out, act)                           out = act(norm(in))
//   norm_backward(d, in, act)                    in becomes its own gradient; the gradients of weight and bias are kept
//   activate(a, h, act), activate_backward(d, a, out, act), add(x, y)      h = act(a); out = d act'(a); y += x
#pragma once

#include "expert_map.hpp"
#include "tiled.hpp"

namespace polymoe::inline v0 {

/// One convolution of an expert, kernel x kernel around each pixel, so that a map keeps its size.
struct conv_map {
  const char* name = nullptr;
  index in = 0, out = 0, kernel = 1;
  bool depthwise = false, bias = false;
  bool as_linear = false;  ///< a 1 x 1 convolution whose weight has the shape of a linear layer, [out, in]
  int input = linear_map::end, gradient = linear_map::end;  ///< as in linear_map

  constexpr index fan_in() const { return (depthwise ? 1 : in) * kernel * kernel; }
  constexpr index weights() const { return out * fan_in(); }
};

namespace detail {

/// The trained tensors of one convolution of all experts: names, shapes and first values, the same on every backend.
template <class M>
struct conv_params {
  param<M> weight, bias;  ///< [experts * out, fan_in] as [experts * out * fan_in / kernel, kernel]; [experts, out]

  template <class V>
  void visit(V& v, index experts, const conv_map& m) {
    const std::string name = m.name;
    const auto named = [&](const char* what) {
      return [=](index e) { return std::to_string(e) + "." + name + "." + what; };
    };
    const auto rule = init_rule::uniform(1.0 / std::sqrt(static_cast<double>(m.fan_in())));
    std::vector<index> dims = {m.out, m.depthwise ? 1 : m.in};
    if (!m.as_linear) dims.insert(dims.end(), 2, m.kernel);
    v.add_stack(weight, experts, named("weight"), dims, rule);
    if (m.bias) v.add_stack(bias, experts, named("bias"), {m.out}, rule, decay::no);
  }
};
/// Those of the group norm: [experts, channels].
template <class M>
struct norm_params {
  param<M> weight, bias;

  template <class V>
  void visit(V& v, index experts, index channels) {
    const auto named = [](const char* what) { return [=](index e) { return std::to_string(e) + ".norm." + what; }; };
    v.add_stack(weight, experts, named("weight"), {channels}, init_rule::constant(1), decay::no);
    v.add_stack(bias, experts, named("bias"), {channels}, init_rule::zeros(), decay::no);
  }
};

/// A backend's frame around `Body`.
template <class Body, class T, class Backend>
class map_expert;

/// What the frames of all backends share: the size of the map, and counting.
template <class Body>
class map_expert_base {
 public:
  map_expert_base() = default;
  explicit map_expert_base(const expert_config& c) : config_(c) {
    require(c.hidden >= 1, "expert ", Body::name, ": hidden is ", c.hidden, ", it must be at least 1");
    height_ = c.map_height;
    if (height_ == 0)
      for (height_ = 1; height_ * height_ < c.unit_rows;) ++height_;
    require(height_ > 0 && c.unit_rows % height_ == 0 && (c.map_height > 0 || height_ * height_ == c.unit_rows),
            "expert ", Body::name, ": ", c.unit_rows, " rows of a unit are no map",
            c.map_height ? " of height " : ", a square one was expected: set map_height; tried ", height_);
    width_ = c.unit_rows / height_;
    const index channels = Body::norm_channels(c);
    require(channels % Body::groups == 0, "expert ", Body::name, ": ", channels, " channels do not fall into ",
            Body::groups, " equal groups of its norm");
  }

  static constexpr cost count_one(const expert_config& c) {
    cost one;
    for (int i = 0; i < Body::maps; ++i) {
      const conv_map m = Body::map(i, c);
      one.macs += m.weights();
      one.params += m.weights() + (m.bias ? m.out : 0);
    }
    one.params += 2 * Body::norm_channels(c), one.activations = c.out;
    for (int i = 0; i < Body::kept; ++i) one.activations += Body::width(i, c);
    return cost::dense(one.params, one.macs, one.activations);
  }

 protected:
  expert_config config_;
  index height_ = 1, width_ = 1;
};

}  // namespace detail
}  // namespace polymoe

#include "../backend/cpu/map_expert.hpp"
