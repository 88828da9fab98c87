// expert::mlp<Act, Bias>: y = W2 act(W1 x + b1) + b2 for each expert   (V-MoE, paper C).
// expert::head<Act, Bias>: the same with `classes` outputs: the classifier head of paper B (D-H-classes).
//
// Names of parameters: experts.<e>.fc1.weight [H, D], .fc1.bias [H], .fc2.weight [D_out, H], .fc2.bias [D_out].
// Kept for backward (save.hpp): pre-activation and hidden rows; the gradient of the pre-activation is written over the
// former.
#pragma once

#include "activation.hpp"
#include "tiled.hpp"

namespace polymoe::inline v0 {
namespace detail {

template <class Act, bool Bias, class Save = save::everything, float_products Products = float_products::exact>
struct mlp_maths {
  static constexpr const char* name = "mlp";
  static constexpr bool bias = Bias, spare = !keeps_output<Save>;
  using save = Save;
  static constexpr float_products products = Products;
  enum { pre, hidden, kept };
  static constexpr bool stays(int i) { return i == pre ? Save::keeps_pre : Save::keeps_hidden; }
  enum { fc1, fc2, maps };

  static constexpr linear_map map(int i, const expert_config& c) {
    if (i == fc1) return {"fc1", c.in, c.hidden, linear_map::end, pre};
    return {"fc2", c.hidden, c.out, hidden, linear_map::end};
  }
  template <class Tile>
  static void forward(const Tile& t) {
    t.apply_activated(fc1, t.x(), pre, hidden, Act{});
    t.drop(t.kept(hidden));
    t.apply(fc2, t.kept(hidden), t.y());
  }
  template <class Tile>
  static void recompute(const Tile& t) {
    if constexpr (!Save::keeps_pre) t.apply_activated(fc1, t.x(), pre, hidden, Act{});
    else if constexpr (!Save::keeps_hidden) t.activate(pre, hidden, Act{});
    if constexpr (!Save::keeps_hidden) t.drop(t.kept(hidden));
  }
  template <class Tile>
  static void backward(const Tile& t) {
    if constexpr (keeps_output<Save>) {
      t.data_gradient_activated(fc2, t.dy(), pre, hidden, Act{});
    } else {
      bool folded = false;
      if constexpr (requires { t.data_gradient_folded(fc2, t.dy(), pre, Act{}); })
        folded = t.data_gradient_folded(fc2, t.dy(), pre, Act{});
      if (!folded) {
        t.data_gradient(fc2, t.dy(), t.spare());
        t.fold_gates(fc2, t.spare(), hidden);
        t.activate_backward(t.spare(), pre, hidden, Act{});
      }
    }
    t.drop(t.kept(pre));
    t.data_gradient(fc1, t.kept(pre), t.dx());
  }
};

}  // namespace detail

namespace expert {

/// `Products` says how float products may be computed.
template <class Act = act::gelu_tanh, bool Bias = true, float_products Products = float_products::exact>
struct mlp {
  static constexpr const char* name = "mlp";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend, class Save = save::everything>
  using module = polymoe::detail::tiled_expert<polymoe::detail::mlp_maths<Act, Bias, Save, Products>, T, Backend>;
};

/// Needs layer_config::classes.  A head has no residual to carry dropped units, so overflow::drop is refused with it.
template <class Act = act::relu, bool Bias = true, float_products Products = float_products::exact>
struct head {
  static constexpr const char* name = "head";
  static constexpr bool head_of_classes = true;
  template <class T, class Backend, class Save = save::everything>
  using module = polymoe::detail::tiled_expert<polymoe::detail::mlp_maths<Act, Bias, Save, Products>, T, Backend>;
};

}  // namespace expert
}  // namespace polymoe
