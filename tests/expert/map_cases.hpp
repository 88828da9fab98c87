// Layers of map experts for the tests: mixtures and choices of conv_block and depthwise_block.
#pragma once

#include <doctest/doctest.h>

#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe::inline v0 {
namespace map_cases {

template <class T>
struct conv_mixture : spec {
  using scalar = T;
  using unit = polymoe::unit::feature_map;
  using router = mixture<score::softmax>;
  using expert = polymoe::expert::conv_block<act::silu, 2>;
};
template <class T>
struct depthwise_mixture : conv_mixture<T> {
  using expert = polymoe::expert::depthwise_block<act::gelu_tanh, 3, 3>;
};
template <class T>
struct residual_choice : conv_mixture<T> {
  using router = top_k<2, score::softmax>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using expert = polymoe::expert::conv_block<act::silu, 2, true>;
};
template <class T>
struct depthwise_choice : residual_choice<T> {
  using expert = polymoe::expert::depthwise_block<act::gelu_tanh, 5, 1>;
};
template <class T>
using conv_mix = layer<conv_mixture<T>, cpu>;
template <class T>
using depthwise_mix = layer<depthwise_mixture<T>, cpu>;
template <class T>
using conv_top = layer<residual_choice<T>, cpu>;
template <class T>
using depthwise_top = layer<depthwise_choice<T>, cpu>;

inline constexpr index H = 3, W = 4, pixels = H * W, D = 6, hidden = 8;

template <class Layer>
typename Layer::config sizes(index experts) {
  typename Layer::config c{.dim = D, .hidden = hidden, .experts = experts, .unit_rows = pixels, .map_height = H};
  if constexpr (Layer::spec::capacity::limited) c.capacity.factor = 0.8f;
  return c;
}

/// Gradients and threads in double; with `types` threads, tangents and differences of the other number types too.
template <template <class> class Layer, bool types>
void check_all(index experts, index maps) {
  const testing::check_options o{.rows = maps * pixels, .seed = 5, .samples = 24};
  testing::check_report r;
  const auto c64 = sizes<Layer<double>>(experts);
  testing::detail::check_gradients<Layer<double>>(c64, o, r);
  testing::detail::check_threads<Layer<double>>(c64, o);
  if constexpr (types) {
    const auto c32 = sizes<Layer<float>>(experts);
    const auto c16 = sizes<Layer<bf16>>(experts);
    testing::detail::check_threads<Layer<float>>(c32, o);
    testing::detail::check_threads<Layer<bf16>>(c16, o);
    testing::detail::check_tangent<Layer<dual<double>>, Layer<double>>(sizes<Layer<dual<double>>>(experts), c64, o, r);
    testing::detail::check_precision<Layer<float>, Layer<double>>(c32, c64, o, 2e-5, "float", r.float_output,
                                                                  r.float_gradient);
    testing::detail::check_precision<Layer<bf16>, Layer<double>>(c16, c64, o, 4e-2, "bf16", r.bf16_output,
                                                                 r.bf16_gradient);
  }
}

}  // namespace map_cases
}  // namespace polymoe
