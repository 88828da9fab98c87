// Whole layers on CUDA, run on the CPU by the host executor, against the CPU backend: V-MoE with its balance losses, in
// every number type; packed and padded, bad rows, evaluation, no unit and one.
// timeout: 600
// with: layers
#include "layer_harness.hpp"

namespace {
using namespace layer_test;
namespace act = polymoe::act;
namespace capacity = polymoe::capacity;
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;

template <class T>
struct v_moe : small_spec<T> {
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};
}  // namespace

TEST_CASE("a V-MoE layer on CUDA equals the CPU's: capacity binds, balance losses train") {
  both<v_moe<double>> a({.units = 70, .seed = 1});
  CHECK(a.dropped > 0);
  both<v_moe<float>> b(
      {.units = 130, .experts = 9, .dim = 33, .hidden = 17, .with_bad = true, .factor = 0.8f, .seed = 2});
  CHECK(b.dropped > 0);
  both<v_moe<bf16>> c({.units = 96, .dim = 64, .hidden = 72, .group_size = 40, .with_bad = true, .seed = 3});
  CHECK(c.dropped > 0);
  both<v_moe<float>>({.units = 64, .padded = true, .with_bad = true, .seed = 4});
  both<v_moe<float>>({.units = 40, .mode = run_mode::eval, .seed = 5, .max_units = 100});
  both<v_moe<float>>({.units = 0, .seed = 6, .max_units = 10});
  both<v_moe<float>>({.units = 1, .seed = 7});
}
