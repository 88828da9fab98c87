// Whole layers on CUDA under the host executor against the CPU backend: scores that change their logits before or after
// the noise, and routers that are told where a unit belongs.
// timeout: 900
// with: layer_policies
#include "layer_harness.hpp"

namespace {
using namespace layer_test;
namespace balance = polymoe::balance;
namespace score = polymoe::score;

/// The sparse head of paper B as its code has it: the CPU draws the same noise and drops the same logits.
struct coded_head : small_spec<> {
  using router =
      polymoe::top_k<2, score::standardized<score::logit_dropout<score::noisy_learned<score::largest_softmax<2>>>>>;
  using balance = polymoe::balance::importance_of_scores;
};
struct told : small_spec<> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::top_k<1>;
  using balance = polymoe::balance::sum<polymoe::balance::supervised, polymoe::balance::gshard>;
};
/// Products of float experts in tf32: 2^-11 of each operand.
struct rounded_products : small_spec<> {
  using expert = polymoe::expert::mlp<polymoe::act::gelu_tanh, true, polymoe::float_products::tf32>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr double tolerance = 2e-3;
};
}  // namespace

TEST_CASE("float experts in tf32 on CUDA: near the exact ones, and not equal to them") {
  for (const bool padded : {false, true}) {
    both<rounded_products> b({.units = 60, .dim = 32, .hidden = 48, .padded = padded, .factor = 1.5f, .seed = 34});
    CHECK(b.device().module().describe().find("tf32") != std::string::npos);
    CHECK(b.largest_error > 1e-5);
  }
}
TEST_CASE("paper B's sparse gate on CUDA: standardised, noisy, dropped, cut at a threshold") {
  both<coded_head>({.units = 70, .seed = 31});
  both<coded_head>({.units = 33, .group_size = 16, .mode = polymoe::run_mode::eval, .seed = 32});
}
TEST_CASE("supervised routing on CUDA: targets in device memory, some units without one") {
  both<told>({.units = 40, .unit_rows = 2, .seed = 33});
}
