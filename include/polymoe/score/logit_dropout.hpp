// score::logit_dropout<Inner>: in training, each logit becomes 0 with probability `dropout`, and the others grow by
// 1 / (1 - dropout), after the noise and before temperature and Inner.
//
// The heads of paper B (arXiv 2601.15021) in its code.  A dropped logit is not a dropped expert: 0 may well be the
// largest, and two dropped experts tie.  Drawn from the layer's stream by (seed, step, unit, expert); off in
// evaluation, and where step_state::noise is 0.
#pragma once

#include "softmax.hpp"

namespace polymoe::inline v0::score {

template <class Inner = softmax>
struct logit_dropout : Inner {
  static constexpr const char* name = "logit_dropout";
  float dropout = 0.1f;  ///< in [0, 1)
};

}  // namespace polymoe::score
