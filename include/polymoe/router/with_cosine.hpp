// with_cosine<Router, Projected>: the router's logits are cosines, times a learned scale (the gate of Swin-MoE and
// Tutel; Chi et al. 2022; GMoE, Li et al. 2023):
//
//   h_t  = W_p x_t (+ b_p with with_bias)                       h_t = x_t where it is not Projected
//   z_te = s <h_t, w_e> / (|h_t| |w_e|),                        |v| = sqrt(v.v + 1e-6), as in soft_slots
//   s    = min(exp(a), largest_scale)                           a is learned, without a gradient beyond largest_scale
//
// It is a property of the logits: scores, noise, temperature, choices, balance losses and plans of whole groups see z
// as they see the logits of a linear router.  A second projection (learned noise) stays linear in x.
//
// Parameters, without weight decay: `weight` [E, P] with rows w_e, `log_scale` [1, 1] that is a, and where Projected
// `projection` [P, D] and, with with_bias, `projection_bias` [P].
//
// A row of zeros (h = 0) has logits of 0, and gradients as finite as those of any row: with l = |0| = 1e-3 they are
// d_h = s / l sum_e d_e w_e / |w_e|.  The same holds for a row w_e of zeros.  In float a length above 1.8e19 overflows,
// and logits are 0 there too.
//
// Use: with_cosine<top_k<2>>, with_bias<with_cosine<top_k<1>>> (Tutel's, bias included), with_cosine<mixture<>, false>.
#pragma once

#include <array>

#include "../core/error.hpp"
#include "length.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

/// True when the router's logits are cosines.
template <class Router>
inline constexpr bool has_cosine_logits = requires { requires bool(Router::cosine_logits); };
/// ... of a projection of the unit.
template <class Router>
inline constexpr bool has_cosine_projection = requires {
  requires has_cosine_logits<Router> && bool(Router::cosine_projection);
};

namespace detail {
/// "cosine, " before the name of a router.
template <class Router, bool Projected>
struct cosine_name {
  static constexpr auto text = [] {
    constexpr const char* first = Projected ? "cosine of a projection, " : "cosine, ";
    constexpr const char* rest = policy_name<Router>();
    std::array<char, std::char_traits<char>::length(first) + std::char_traits<char>::length(rest) + 1> all{};
    std::size_t n = 0;
    for (const char* part : {first, rest})
      for (; *part; ++part) all[n++] = *part;
    return all;
  }();
};
}  // namespace detail

template <class Router, bool Projected = true>
struct with_cosine : Router {
  static constexpr const char* name = detail::cosine_name<Router, Projected>::text.data();
  static constexpr bool cosine_logits = true, cosine_projection = Projected;
  /// P, numbers of the projection; 0: half of D, 256 at most, as in GMoE (Swin-MoE: 256).  Not used without a
  /// projection.
  index cosine_dim = 0;
  float first_scale = 2;      ///< first value of s: one over Tutel's init_t of 0.5
  float largest_scale = 100;  ///< Tutel's one over 0.01

  void validate() const {
    require(cosine_dim >= 0 && cosine_dim <= 65536, "with_cosine: cosine_dim is ", cosine_dim,
            ", it must lie in 0..65536");
    require(first_scale > 0 && first_scale <= largest_scale && math::is_finite(largest_scale),
            "with_cosine: first_scale is ", first_scale, " and largest_scale ", largest_scale,
            ", the first must be positive and not above the second, which must be finite");
    if constexpr (requires(const Router r) { r.validate(); }) Router::validate();
  }
};

/// Columns of the router's `weight`: D, or P where cosines are those of a projection.
template <class Router>
constexpr index compared_columns([[maybe_unused]] const Router& r, index dim) {
  if constexpr (has_cosine_projection<Router>) {
    if (r.cosine_dim > 0) return r.cosine_dim;
    return dim < 2 ? 1 : dim / 2 < 256 ? dim / 2 : 256;
  } else {
    return dim;
  }
}

/// s from its parameter a.
template <class C>
POLYMOE_HD C cosine_scale(const C& log_scale, float largest) {
  const C scale = math::exp(log_scale);
  return scale > C(largest) ? C(largest) : scale;
}
/// Whether a has a gradient.
template <class C>
POLYMOE_HD bool cosine_scale_learns(const C& log_scale, float largest) {
  return !(math::exp(log_scale) > C(largest));
}
/// dz_te / d<h_t, w_e>; `scale_of_unit` is s / |h_t|.  With it z = factor u, and
///
///   d_u_te = factor d_z_te                    (what goes back through the product u = h w^T)
///   d_h_t -= (sum_e d_z z) / |h_t|^2 h_t,     d_w_e -= (sum_t d_z z) / |w_e|^2 w_e,     d_a = sum_te d_z z
template <class C>
POLYMOE_HD POLYMOE_ALWAYS_INLINE C cosine_factor(const C& scale_of_unit, const C& expert_length) {
  return scale_of_unit * expert_length;
}

}  // namespace polymoe
