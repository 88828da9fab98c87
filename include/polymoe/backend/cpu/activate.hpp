// Activations of rows on the CPU, plain and gated, forward and backward, as loops that compile to vector code.
#pragma once

#include "convert.hpp"

namespace polymoe::inline v0::detail {

/// h = act(a) element by element.
template <class T, class Act>
void activate(view<const T> a, view<T> h, Act act) {
  using C = compute_t<T>;
  for (index r = 0; r < a.rows; ++r) polymoe::backend::map_row(r, h, [=](C x) { return act(x); }, a);
}
/// out = d * act'(a); out may be d or a.
template <class T, class Act>
void activate_backward(view<const T> d, view<const T> a, view<T> out, Act act) {
  using C = compute_t<T>;
  for (index r = 0; r < a.rows; ++r) polymoe::backend::map_row(r, out, [=](C g, C x) { return g * act.grad(x); }, d, a);
}
/// h = act(a) * b element by element; one rounding, to T.
template <class T, class Act>
void activate_gated(view<const T> a, view<const T> b, view<T> h, Act act) {
  using C = compute_t<T>;
  for (index r = 0; r < a.rows; ++r) polymoe::backend::map_row(r, h, [=](C x, C up) { return act(x) * up; }, a, b);
}
/// With d the gradient of h: a becomes d * b * act'(a), b becomes d * act(a).
template <class T, class Act>
void activate_gated_backward(view<const T> d, view<T> a, view<T> b, Act act) {
  for (index r = 0; r < a.rows; ++r) {
    if constexpr (is_dual<T>) {
      for (index j = 0; j < a.cols; ++j) {
        const auto dh = d.get(r, j), x = a.get(r, j), up = b.get(r, j);
        a.set(r, j, dh * up * act.grad(x));
        b.set(r, j, dh * act(x));
      }
    } else {
      const auto* in = d.row(r);
      auto *gate = a.row(r), *up = b.row(r);
      using C = compute_t<T>;
      POLYMOE_SIMD
      for (index j = 0; j < a.cols; ++j) {
        const C dh = static_cast<C>(in[j]), x = static_cast<C>(gate[j]), u = static_cast<C>(up[j]);
        store(gate[j], dh * u * act.grad(x));
        store(up[j], dh * act(x));
      }
    }
  }
}

}  // namespace polymoe::inline v0::detail
