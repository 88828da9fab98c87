// The vision transformer that papers C and D put their experts into.
#pragma once

#include <polymoe/nn/vit.hpp>

#include "any_layer.hpp"
#include "experiment.hpp"

namespace experiment {

template <class T, class B>
using dense_mlp = polymoe::nn::named<"mlp", polymoe::nn::mlp_block<T, polymoe::act::gelu_tanh, B>>;
template <class T, class B>
using moe = polymoe::nn::named<"moe", any_layer<T, B>>;

/// Sizes for the data from a program's own options.
template <class Options>
polymoe::nn::vit_sizes vit_sizes_of(const Options& o, const images& data) {
  polymoe::nn::vit_sizes z;
  z.channels = data.test.channels, z.height = data.test.height, z.width = data.test.width;
  z.patch = o.patch, z.dim = o.dim, z.heads = o.heads, z.depth = o.depth, z.classes = data.test.classes();
  return z;
}

}  // namespace experiment
