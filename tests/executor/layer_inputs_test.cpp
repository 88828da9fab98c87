// Whole layers on CUDA under the host executor against the CPU backend: routers whose linear maps have biases, routers
// that perturb their view of the input, and routers whose logits are cosines.
// timeout: 900
// with: layer_policies
#include "layer_harness.hpp"

namespace {
using namespace layer_test;
namespace score = polymoe::score;

/// Learned noise, both linear maps with a bias; in double, where a wrong sum shows.
struct biased_noise : small_spec<> {
  using scalar = double;
  using router = polymoe::with_bias<polymoe::top_k<2, score::noisy_learned<>>>;
};
struct biased_mixture : small_spec<> {
  using router = polymoe::with_bias<polymoe::mixture<>>;
};
/// Jitter and dropout of the router's view of the input: the CPU draws the same factors.
template <class T>
struct noisy_input : small_spec<> {
  using scalar = T;
  using router = polymoe::with_bias<
      polymoe::top_k<2, score::gate_jitter<score::gate_dropout<score::noisy_learned<score::softmax>>>>>;
};
/// Everything that stands around cosines of a projection at once: a bias, jitter, a second projection of the unit.
template <class T>
struct projected_cosine : small_spec<> {
  using scalar = T;
  using router =
      polymoe::with_bias<polymoe::with_cosine<polymoe::top_k<2, score::gate_jitter<score::noisy_learned<>>>>>;
};
/// Units as they are: compared where they lie, widened first, or jittered first.
template <class T, class Score = score::softmax>
struct plain_cosine : small_spec<> {
  using scalar = T;
  using router = polymoe::with_cosine<polymoe::mixture<Score>, false>;
};
struct planned_cosine : small_spec<> {
  using router = polymoe::with_cosine<polymoe::expert_choice<score::sinkhorn<score::by_plan>>>;
};
}  // namespace

TEST_CASE("biases of the router's linear maps on CUDA: of both projections, and over several pieces of the gradient") {
  both<biased_noise>(
      {.units = 70, .dim = 63, .with_bad = true, .seed = 35});  // a bias fills the last tile of the width
  both<biased_noise>({.units = 33, .dim = 64, .group_size = 16, .seed = 36});  // and begins one
  both<biased_mixture>({.units = 530, .experts = 3, .dim = 4, .hidden = 4, .seed = 37});
}
TEST_CASE("jitter and dropout of the router's input on CUDA, and none in evaluation") {
  both<noisy_input<double>>({.units = 70, .dim = 21, .with_bad = true, .seed = 38});
  both<noisy_input<float>>({.units = 100, .experts = 32, .dim = 10, .hidden = 8, .seed = 39});
  both<noisy_input<bf16>>({.units = 66, .dim = 24, .seed = 40});
  both<noisy_input<float>>({.units = 30, .dim = 24, .mode = run_mode::eval, .seed = 41});
}
TEST_CASE("cosines on CUDA: of a projection, whose width fills no tile and several, and of units as they are") {
  both<projected_cosine<double>>({.units = 70, .dim = 21, .with_bad = true, .seed = 42});
  both<projected_cosine<double>>({.units = 530, .experts = 3, .dim = 140, .hidden = 4, .seed = 43});
  both<projected_cosine<bf16>>({.units = 66, .experts = 32, .dim = 24, .with_bad = true, .seed = 44});
  both<plain_cosine<double>>({.units = 70, .dim = 21, .with_bad = true, .seed = 45});
  both<plain_cosine<bf16, score::gate_jitter<>>>({.units = 33, .dim = 24, .with_bad = true, .seed = 46});
  both<planned_cosine>({.units = 40, .dim = 24, .group_size = 20, .mode = run_mode::eval, .seed = 47});
}
#if !defined(__CUDACC__)  // only the executor counts launches
TEST_CASE("describe() counts the launches of cosines") {
  compare_launches<projected_cosine<double>>();
  compare_launches<plain_cosine<double>>();
}
#endif
