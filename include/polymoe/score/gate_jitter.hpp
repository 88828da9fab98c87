// score::gate_jitter<Inner>: in training, the router sees its input multiplied element by element by U(1 - jitter, 1 +
// jitter).
//
// Switch Transformer (arXiv 2101.03961) and ST-MoE (arXiv 2202.08906), where the share is 0.01.  The experts' input is
// not touched.  The share is multiplied by step_state::noise; evaluation has none.  Drawn from the stream "jitter" of
// the layer by (seed, step, unit, element); see router/input_noise.hpp.
#pragma once

#include "softmax.hpp"

namespace polymoe::inline v0::score {

template <class Inner = softmax>
struct gate_jitter : Inner {
  static constexpr const char* name = "gate_jitter";
  float jitter = 0.01f;  ///< in [0, 1)
};

}  // namespace polymoe::score
