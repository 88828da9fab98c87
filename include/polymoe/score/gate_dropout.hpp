// score::gate_dropout<Inner>: in training, each element of the router's input becomes 0 with probability
// `input_dropout`, and the others grow by 1 / (1 - input_dropout).
//
// The gates of paper B (arXiv 2601.15021) in its code.  The experts' input is not touched.  Off in evaluation, and
// where step_state::noise is 0.  Drawn from the stream "input_dropout" of the layer by (seed, step, unit, element); see
// router/input_noise.hpp.
#pragma once

#include "softmax.hpp"

namespace polymoe::inline v0::score {

template <class Inner = softmax>
struct gate_dropout : Inner {
  static constexpr const char* name = "gate_dropout";
  float input_dropout = 0.1f;  ///< in [0, 1)
};

}  // namespace polymoe::score
