// Layers, a vision transformer and optimisers against PyTorch in float64: the golden files that generate.py wrote.
//
// Inputs and parameters come from their names on both sides, exact in float64.  A file holds scalars, choices, and of
// each tensor its size, its norm, two sums under pseudo-random signs and six elements; all have to agree to 1e-10 of
// the tensor's norm, and every line of a file has to be used.
// specs: mixtures token_choice
#include "cases.hpp"

namespace polymoe {

TEST_CASE("golden: a dropless layer with importance loss") { golden_cases::dropless_layer<cpu>(); }

TEST_CASE("golden: hard capacity by position with importance, Switch and z-loss, one group and groups of ten") {
  golden_cases::limited_layers<cpu>();
}

TEST_CASE("golden: a mixture of classifier heads with the KL loss of paper B") {
  golden_cases::mixture_of_heads<cpu>();
}

TEST_CASE("golden: a vision transformer with a Mixture of Experts in both blocks") {
  golden_cases::vision_transformer<cpu>();
}

TEST_CASE("golden: five steps of AdamW") { golden_cases::five_steps_of_adamw<cpu>(); }

TEST_CASE("golden: five steps of SGD with Nesterov momentum") { golden_cases::five_steps_of_sgd<cpu>(); }

}  // namespace polymoe
