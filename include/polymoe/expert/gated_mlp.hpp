// expert::gated_mlp<Act, Bias>: y = W_down (act(W_gate x) * (W_up x)) for each expert (Shazeer 2020, "GLU variants").
//
// Names: experts.<e>.gate.weight [H, D], .up.weight [H, D], .down.weight [D, H] (and .bias of each with Bias).
// Kept for backward: both pre-activations and the hidden rows; gradients are written over the former two.
#pragma once

#include "activation.hpp"
#include "tiled.hpp"

namespace polymoe::inline v0 {
namespace detail {

template <class Act, bool Bias>
struct gated_mlp_maths {
  static constexpr const char* name = "gated_mlp";
  static constexpr bool bias = Bias, spare = true;
  enum { gate_rows, up_rows, hidden, kept };
  enum { gate, up, down, maps };

  static constexpr linear_map map(int i, const expert_config& c) {
    if (i == gate) return {"gate", c.in, c.hidden, linear_map::end, gate_rows};
    if (i == up) return {"up", c.in, c.hidden, linear_map::end, up_rows};
    return {"down", c.hidden, c.out, hidden, linear_map::end};
  }
  template <class Tile>
  static void forward(const Tile& t) {
    t.apply(gate, t.x(), t.kept(gate_rows));
    t.apply(up, t.x(), t.kept(up_rows));
    t.activate_gated(t.kept(gate_rows), t.kept(up_rows), t.kept(hidden), Act{});
    t.apply(down, t.kept(hidden), t.y());
  }
  template <class Tile>
  static void backward(const Tile& t) {
    t.data_gradient(down, t.dy(), t.spare());
    t.activate_gated_backward(t.spare(), t.kept(gate_rows), t.kept(up_rows), Act{});
    t.data_gradient(gate, t.kept(gate_rows), t.dx());
    t.data_gradient(up, t.kept(up_rows), t.dx(), true);
  }
};

}  // namespace detail

namespace expert {
template <class Act = act::silu, bool Bias = false>
struct gated_mlp {
  static constexpr const char* name = "gated_mlp";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend>
  using module = polymoe::detail::tiled_expert<polymoe::detail::gated_mlp_maths<Act, Bias>, T, Backend>;
};
}  // namespace expert
}  // namespace polymoe
