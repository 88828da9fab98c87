// with_bias<Router>: the router's linear maps have a bias: z_e = <x, w_e> + b_e, and raw_e = <x, u_e> + c_e where a
// second projection makes the noise (the gates of paper B, arXiv 2601.15021, in its code; V-MoE and Switch have none).
//
// Parameters `bias [E]` and `noise_bias [E]` beside `weight` and `noise_weight`, zero at first, without weight decay;
// d_b is the sum of d_z over the units that are finite.  The bias is part of the logits: scores, balance losses and
// plans of whole groups see it.  Not the bias of balance::loss_free_bias, which moves the selection alone and has no
// gradient.
//
// Use: with_bias<top_k<2>>, with_bias<mixture<>>, with_bias<expert_choice<score::sinkhorn<>>>.
#pragma once

#include "top_k.hpp"

namespace polymoe::inline v0 {

template <class Router>
struct with_bias : Router {
  static constexpr bool projection_bias = true;
};

}  // namespace polymoe
