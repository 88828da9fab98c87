// Save policies: what an expert keeps from forward to backward, and what backward computes again.
//
//   policy                 hidden layer H (before its activation)   A' (after it)   the rows x, in slot order
//   save::everything       kept                                     kept            kept
//   save::pre_activation   kept                                     from H          kept
//   save::input            from x                                   from H          kept
//   save::nothing          from x                                   from H          gathered again
//
// What is not kept lies in scratch, which all layers of a model share, so a deep model saves a policy's share once per
// layer.  `input` and `nothing` repeat the first products of the expert in backward: one product in addition to the six
// (2 N D H each) of an MLP's forward and backward, two in addition to nine of a gated one.  Rows are "in slot order"
// where the backend copies them at all (the CPU, and products by cuBLASLt); else `nothing` is `input`.
//
// save::without_output<P> keeps what P keeps, but not the experts' outputs y [slots, D_out], which are kept for the
// gradients of the gates, d_gate = <dy, y>.  With y = W a + b of the last map, <dy, W a + b> = <W^T dy, a> + <dy, b>:
// the data gradient of that map, taken before it is multiplied by the gate, has all that is needed.  It costs a kernel
// over the hidden rows instead of a fused derivative, and d_gate sums in another order than with y.  Experts without a
// last linear map (identity) keep y.
//
// Gradients have the bits of save::everything on the CPU and by the grouped kernel on CUDA: what is computed again is
// the same arithmetic on the same numbers.  Where cuBLASLt fuses tanh-GELU it sees H before H is rounded, so with bf16
// `pre_activation` differs from the others in the last bit of A'.
#pragma once

#include <concepts>

namespace polymoe::inline v0 {

namespace save {

struct everything {
  static constexpr const char* name = "everything";
  static constexpr bool keeps_pre = true, keeps_hidden = true, keeps_input = true;
};
struct pre_activation {
  static constexpr const char* name = "pre_activation";
  static constexpr bool keeps_pre = true, keeps_hidden = false, keeps_input = true;
};
struct input {
  static constexpr const char* name = "input";
  static constexpr bool keeps_pre = false, keeps_hidden = false, keeps_input = true;
};
struct nothing {
  static constexpr const char* name = "nothing";
  static constexpr bool keeps_pre = false, keeps_hidden = false, keeps_input = false;
};
template <class P>
struct without_output : P {
  static constexpr bool keeps_output = false;
};

}  // namespace save

/// What Spec::save has to be: three constants and a name.  A' may be kept only beside H: nothing else gives H back.
template <class S>
concept save_policy = requires {
  { S::keeps_pre } -> std::convertible_to<bool>;
  { S::keeps_hidden } -> std::convertible_to<bool>;
  { S::keeps_input } -> std::convertible_to<bool>;
  { S::name } -> std::convertible_to<const char*>;
}
&&(S::keeps_pre || !S::keeps_hidden) && (S::keeps_input || !S::keeps_pre);

namespace detail {
/// Outputs are kept unless a policy says otherwise.
template <class Save>
inline constexpr bool keeps_output = true;
template <class Save>
requires requires { Save::keeps_output; }
inline constexpr bool keeps_output<Save> = Save::keeps_output;
/// Spec::expert takes Spec::save.
template <class Spec, class Backend>
concept saves = requires {
  typename Spec::expert::template module<typename Spec::scalar, Backend, typename Spec::save>;
};
}  // namespace detail

}  // namespace polymoe
