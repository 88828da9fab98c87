// A ResNet for small images with one of paper B's heads: the dense one,
//
//   features -> 512 -> ReLU -> dropout -> classes
//
// or any layer of experts.
#pragma once

#include <polymoe/nn/dropout.hpp>
#include <polymoe/nn/resnet.hpp>

#include "../experiment/any_layer.hpp"
#include "paper_b.hpp"

namespace paper_b {

namespace nn = polymoe::nn;

inline constexpr index dense_hidden = 512;

template <class T, class B = polymoe::cpu>
using dense_head =
    nn::sequential<nn::named<"0", nn::linear<T, B>>, nn::named<"", nn::activation<polymoe::act::relu, T, B>>,
                   nn::named<"dropout", nn::dropout<T, B>>, nn::named<"3", nn::linear<T, B>>>;

template <class T, class B = polymoe::cpu>
constexpr typename dense_head<T, B>::config dense_config(index features, index classes) {
  return {{{features, dense_hidden}, {dense_hidden}, {dense_hidden, dropout}, {dense_hidden, classes}}};
}
template <class Head, class T, class B>
using classifier = nn::resnet<nn::named<"head", Head>, T, B>;
template <class T, class B = polymoe::cpu>
using dense_classifier = classifier<dense_head<T, B>, T, B>;
/// The same network with any head of experts.
template <class T, class B = polymoe::cpu>
using experts_classifier = classifier<experiment::any_layer<T, B>, T, B>;

template <class T, class B = polymoe::cpu>
constexpr typename dense_classifier<T, B>::config dense_model(const nn::resnet_sizes& s, index classes) {
  return {{nn::resnet_features_config<T, B>(s), dense_config<T, B>(s.features(), classes)}};
}
template <class T, class B = polymoe::cpu>
typename experts_classifier<T, B>::config experts_model(const nn::resnet_sizes& s,
                                                        const typename experiment::any_layer<T, B>::config& head) {
  return {{nn::resnet_features_config<T, B>(s), head}};
}
inline nn::resnet_sizes sizes_of(const options& o, const images& data) {
  nn::resnet_sizes z;
  z.channels = data.test.channels, z.height = data.test.height, z.width = data.test.width, z.base = o.base;
  return z;
}

/// Gives a workspace of the same model the numbers of a trained one.
template <class Model>
void set_trained(polymoe::workspace<Model>& w, const trained& model) {
  w.set_values(model.values), w.set_state(model.state);
  w.refresh();
}

}  // namespace paper_b
