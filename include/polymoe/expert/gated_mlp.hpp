// expert::gated_mlp<Act, Bias>: y = W_down (act(W_gate x) * (W_up x)) for each expert (Shazeer 2020, "GLU variants").
//
// Names: experts.<e>.gate.weight [H, D], .up.weight [H, D], .down.weight [D, H] (and .bias of each with Bias).
// Kept for backward (save.hpp): both pre-activations and the hidden rows; gradients are written over the former two.
#pragma once

#include "activation.hpp"
#include "tiled.hpp"

namespace polymoe::inline v0 {
namespace detail {

template <class Act, bool Bias, class Save = save::everything, float_products Products = float_products::exact>
struct gated_mlp_maths {
  static constexpr const char* name = "gated_mlp";
  static constexpr bool bias = Bias, spare = true;
  using save = Save;
  static constexpr float_products products = Products;
  enum { gate_rows, up_rows, hidden, kept };
  static constexpr bool stays(int i) { return i == hidden ? Save::keeps_hidden : Save::keeps_pre; }
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
    t.drop(t.kept(hidden));
    t.apply(down, t.kept(hidden), t.y());
  }
  template <class Tile>
  static void recompute(const Tile& t) {
    if constexpr (!Save::keeps_pre) {
      t.apply(gate, t.x(), t.kept(gate_rows));
      t.apply(up, t.x(), t.kept(up_rows));
    }
    if constexpr (!Save::keeps_hidden) {
      t.activate_gated(t.kept(gate_rows), t.kept(up_rows), t.kept(hidden), Act{});
      t.drop(t.kept(hidden));
    }
  }
  template <class Tile>
  static void backward(const Tile& t) {
    t.data_gradient(down, t.dy(), t.spare());
    if constexpr (!keeps_output<Save>) t.fold_gates(down, t.spare(), hidden);
    t.drop(t.spare());
    t.activate_gated_backward(t.spare(), t.kept(gate_rows), t.kept(up_rows), Act{});
    t.data_gradient(gate, t.kept(gate_rows), t.dx());
    t.data_gradient(up, t.kept(up_rows), t.dx(), true);
  }
};

}  // namespace detail

namespace expert {
/// `Products` says how float products may be computed.
template <class Act = act::silu, bool Bias = false, float_products Products = float_products::exact>
struct gated_mlp {
  static constexpr const char* name = "gated_mlp";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend, class Save = save::everything>
  using module = polymoe::detail::tiled_expert<polymoe::detail::gated_mlp_maths<Act, Bias, Save, Products>, T, Backend>;
};
}  // namespace expert
}  // namespace polymoe
