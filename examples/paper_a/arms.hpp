// The network around the experts, and what an arm measures.  One text for both backends.
//
//   image -> [conv 3x3, norm, relu, pool] x 2 -> blocks x (m + experts(norm(m))) -> mean over the map -> head
#pragma once

#include <polymoe/nn/activation.hpp>
#include <polymoe/nn/conv2d.hpp>
#include <polymoe/nn/group_norm.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/pixels.hpp>
#include <polymoe/nn/pool.hpp>
#include <polymoe/nn/pool2d.hpp>
#include <polymoe/nn/repeat.hpp>
#include <polymoe/nn/residual.hpp>
#include <polymoe/nn/sequential.hpp>

#include "../experiment/train_arm.hpp"
#include "paper_a.hpp"

namespace paper_a {
namespace {

namespace nn = polymoe::nn;
template <class T, class B>
using stage = nn::sequential<nn::named<"conv", nn::conv2d<T, B>>, nn::named<"norm", nn::group_norm<T, B>>,
                             nn::activation<polymoe::act::relu, T, B>, nn::pool2d<T, B>>;
template <class T, class B>
using block = nn::residual<nn::sequential<nn::named<"norm", nn::group_norm<T, B>>, nn::named<"moe", layer<T, B>>>>;
template <class Head, class T = typename Head::scalar, class B = typename Head::backend>
using network = nn::sequential<nn::pixels<T, B>, nn::named<"stage1", stage<T, B>>, nn::named<"stage2", stage<T, B>>,
                               nn::named<"body", nn::repeat<block<T, B>>>, nn::pool<T, B>, nn::named<"head", Head>>;

template <class T, class B>
typename stage<T, B>::config stage_config(index in, index out, index height, index width) {
  typename nn::conv2d<T, B>::config conv{in, out, height, width, 3, 1, 1, false};
  conv.init = nn::conv_init::he;
  return {{conv, {out, 8, height * width}, {out}, {out, height, width, 2}}};
}
inline block_sizes sizes_of(const options& o, const images& data, index experts, index hidden) {
  return {2 * o.width, hidden, experts, data.test.height / 4, data.test.width / 4, o.capacity};
}
template <class Head, class T = typename Head::scalar, class B = typename Head::backend>
typename network<Head>::config network_config(const options& o, const images& data,
                                              const typename layer<T, B>::config& experts,
                                              const typename Head::config& head) {
  const index h = data.test.height, w = data.test.width, wide = 2 * o.width, pixels = (h / 4) * (w / 4);
  typename nn::repeat<block<T, B>>::config body;
  body.block = {{{wide, 8, pixels}, experts}}, body.count = o.blocks;
  return {{{data.test.channels, h, w},
           stage_config<T, B>(data.test.channels, o.width, h, w),
           stage_config<T, B>(o.width, wide, h / 2, w / 2),
           body,
           {wide, pixels},
           head}};
}

template <class T, class B>
typename layer<T, B>::config body(kind which, const options& o, const images& data, index experts, index hidden) {
  const block_sizes z = sizes_of(o, data, experts, hidden);
  return o.backbone == "depthwise" ? depthwise_body<T, B>(which, z) : standard_body<T, B>(which, z);
}

inline polymoe::train_options recipe(const settings& s, const options& o, std::uint64_t seed, index steps_per_epoch) {
  polymoe::train_options t = experiment::adamw_recipe(s, seed);
  if (o.temperature != "constant") {
    using shape = polymoe::temperature_schedule::shape;
    polymoe::temperature_schedule tau;
    tau.how = o.temperature == "linear" ? shape::linear : shape::sigmoid;
    tau.least = o.least_temperature, tau.total = steps_per_epoch * s.epochs, tau.entropy_floor = o.entropy_floor;
    t.temperature = tau;
  }
  return t;
}

/// `twin_block`: MACs of the routed blocks of the dense model that the arm is compared with.
template <class Head>
result train(const std::string& name, const typename network<Head>::config& config, double twin_block,
             const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using model = network<Head>;
  polymoe::trainer<model> run(model(config), recipe(s, o, seed, data.fit.train.size() / s.batch), data.fit);
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params), r.figures["macs"] = static_cast<double>(cost.macs);
    const double rest = static_cast<double>(cost.macs - cost.routed_macs);
    r.figures["rho_static"] = twin_block / (rest + twin_block);
    r.figures["rho_active"] = static_cast<double>(cost.routed_macs) / static_cast<double>(cost.macs) *
                              (1 - (r.figures.count("drop_rate") ? r.figures["drop_rate"] : 0.0));
    // A batch-axis layer mixes the images of a call: does the accuracy depend on their number?  Beside it the same per
    // image, where it does not.
    for (const index b : {index{1}, index{8}, s.batch})
      if (name.rfind("head_batch", 0) == 0 || name.rfind("head_soft", 0) == 0)
        r.figures["accuracy_at_batch_" + std::to_string(b)] = finished.evaluate_on(data.test, b).accuracy;
    r.description = experiment::last_layer_of(finished);
  });
}

template <class T, class B>
polymoe::routed_shape network_shape(const options& o, const images& data) {
  using linear = nn::linear<T, B>;
  const typename linear::config head{2 * o.width, data.test.classes()};
  const auto cost = [&](index experts, index hidden) {
    const typename layer<T, B>::config block =
        body<T, B>(experts == 1 ? kind::dense : kind::k1, o, data, experts, hidden);
    return network<linear>::count(network_config<linear>(o, data, block, head), 1);
  };
  return polymoe::routed_shape_of(cost(1, 8), 8, cost(1, 64), 64, cost(2, 8));
}

template <class T, class B>
result run_arm(kind which, const std::string& name, index hidden, const settings& s, const options& o,
               std::uint64_t seed, const images& data) {
  using polymoe::match;
  using linear = nn::linear<T, B>;
  using config = typename layer<T, B>::config;
  const index wide = 2 * o.width, classes = data.test.classes();
  const typename linear::config plain{wide, classes};
  const polymoe::routed_shape shape = network_shape<T, B>(o, data);
  const auto dense = [&](match m) { return twin_of(shape, m, twin_sizes(o, hidden)).hidden; };
  const auto block = [&](index width) { return body<T, B>(kind::dense, o, data, 1, width); };
  const config twin = block(dense(match::active_macs));
  if (which == kind::head_k2 || which == kind::head_soft || which == kind::head_batch) {
    const config head = expert_head<T, B>(which, wide, hidden, o.experts, classes);
    const double routed = static_cast<double>(2 * hidden * (wide + classes));
    return train<layer<T, B>>(name, network_config<layer<T, B>>(o, data, twin, head), routed, s, o, seed, data);
  }
  const double twin_macs = shape.macs(static_cast<double>(dense(match::active_macs)));
  const config experts = which == kind::dense         ? twin
                         : which == kind::dense_wide  ? block(dense(match::parameters))
                         : which == kind::dense_total ? block(dense(match::total_macs))
                         : which == kind::dense_one
                             ? block(twin_of(shape, match::active_macs, twin_sizes(o, hidden, 1)).hidden)
                             : body<T, B>(which, o, data, o.experts, hidden);
  return train<linear>(name, network_config<linear>(o, data, experts, plain), twin_macs, s, o, seed, data);
}

}  // namespace
}  // namespace paper_a
