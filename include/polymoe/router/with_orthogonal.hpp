// with_orthogonal<Router>: the router's weight starts as a random matrix with orthogonal rows, W W^T = first_gain^2 I
// (BASE, Lewis et al. 2021: experts that start apart, gain 0.1, as torch.nn.init.orthogonal_ draws them).  With more
// experts than columns it is the columns that are orthogonal.  Without it weights are normal, of deviation 1 / sqrt(D).
//
// Of with_cosine it is the rows w_e that units are compared with, whose length says nothing.
//
// Use: with_orthogonal<top_k<1, score::balanced_assignment<>>>, with_bias<with_orthogonal<top_k<2>>>.
#pragma once

#include "../core/error.hpp"
#include "../core/math.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

/// True when the first values of the router's weight are orthogonal.
template <class Router>
inline constexpr bool starts_orthogonal = requires { requires bool(Router::orthogonal_start); };

template <class Router>
struct with_orthogonal : Router {
  static constexpr bool orthogonal_start = true;
  float first_gain = 0.1f;  ///< first length of the rows

  void validate() const {
    require(first_gain > 0 && math::is_finite(first_gain), "with_orthogonal: first_gain is ", first_gain,
            ", it must be positive and finite");
    if constexpr (requires(const Router r) { r.validate(); }) Router::validate();
  }
};

}  // namespace polymoe
