// Whole layers on CUDA under the host executor against the CPU backend: mixtures, heads, gated and identity experts,
// units of several rows.
// timeout: 900
// with: layers
#include "layer_harness.hpp"

namespace {
using namespace layer_test;
namespace act = polymoe::act;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;

/// Few experts: fewer kernels to compile.
template <class T, class Overflow>
struct bounded_spec : small_spec<T> {
  using capacity = polymoe::capacity::bounded<Overflow>;
};
}  // namespace

namespace {
template <class T>
struct mixture_spec : small_spec<T> {
  using router = polymoe::mixture<>;
  using balance = polymoe::balance::kl_from_uniform;
};
struct mixture_head : mixture_spec<double> {
  using expert = polymoe::expert::head<act::relu>;
};
struct noisy_head : small_spec<float> {
  using router = polymoe::top_k<2, score::noisy_learned<>>;
  using expert = polymoe::expert::head<act::gelu_erf>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::importance;
};
}  // namespace
TEST_CASE("mixtures and heads on CUDA") {
#if !defined(__CUDACC__)
  compare_launches<mixture_spec<float>>();
#endif
  both<mixture_spec<float>>({.units = 33, .experts = 5, .with_bad = true, .seed = 7});
  both<mixture_spec<bf16>>({.units = 33, .experts = 3, .dim = 32, .seed = 8});
  both<mixture_head>({.units = 21, .experts = 4, .classes = 7, .seed = 9});
  both<noisy_head>({.units = 50, .classes = 11, .seed = 10});
}

namespace {
template <class T, bool Bias>
struct gated_spec : small_spec<T> {
  using expert = polymoe::expert::gated_mlp<act::silu, Bias>;
};
struct identity_spec : bounded_spec<float, overflow::drop> {
  using expert = polymoe::expert::identity;
};
}  // namespace
TEST_CASE("gated and identity experts on CUDA") {
  both<gated_spec<float, true>>({.seed = 11});
  both<gated_spec<double, false>>({.dim = 10, .hidden = 7, .seed = 12});
  both<gated_spec<bf16, false>>({.dim = 48, .hidden = 80, .seed = 13});
  both<identity_spec>({.with_bad = true, .factor = 0.7f, .seed = 14});
  both<identity_spec>({.padded = true, .factor = 0.7f, .seed = 15});
}

namespace {
template <class Pooling>
struct image_spec : bounded_spec<float, overflow::drop> {
  using unit = polymoe::unit::image<Pooling>;
};
struct image_mixture : mixture_spec<float> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
};
}  // namespace
TEST_CASE("whole images routed on CUDA: pooled by mean and by class token") {
  both<image_spec<polymoe::unit::mean>>({.units = 30, .unit_rows = 5, .with_bad = true, .factor = 0.7f, .seed = 16});
  both<image_spec<polymoe::unit::class_token>>({.units = 19, .unit_rows = 4, .with_bad = true, .seed = 17});
  both<image_mixture>({.units = 11, .experts = 4, .unit_rows = 3, .with_bad = true, .seed = 18});
}
