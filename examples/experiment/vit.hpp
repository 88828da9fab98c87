// What papers C and D put into the blocks of their vision transformer.
#pragma once

#include <polymoe/nn/vit.hpp>

#include "any_layer.hpp"
#include "vit_options.hpp"

namespace experiment {

template <class T, class B>
using dense_mlp = polymoe::nn::named<"mlp", polymoe::nn::mlp_block<T, polymoe::act::gelu_tanh, B>>;
template <class T, class B>
using moe = polymoe::nn::named<"moe", any_layer<T, B>>;

}  // namespace experiment
