// The network around the experts, and what an arm measures.  One text for both backends.
//
// nn::small_cnn with experts in blocks of its body, or in its head.
#pragma once

#include <polymoe/nn/small_cnn.hpp>

#include "../experiment/train_arm.hpp"
#include "paper_a.hpp"

namespace paper_a {
namespace {

namespace nn = polymoe::nn;
template <class T, class B>
using dense_mlp = nn::named<"mlp", dense<T, B>>;
template <class T, class B>
using moe = nn::named<"moe", layer<T, B>>;
template <class T, class B>
using body = nn::mixed_blocks<nn::cnn_block<dense_mlp<T, B>, T, B>, nn::cnn_block<moe<T, B>, T, B>>;
template <class Head, class T = typename Head::scalar, class B = typename Head::backend>
using network = nn::small_cnn_of<body<T, B>, T, B, nn::named<"head", Head>>;

inline nn::small_cnn_sizes sizes_of(const options& o, const images& data) {
  nn::small_cnn_sizes z;
  z.channels = data.test.channels, z.height = data.test.height, z.width = data.test.width;
  z.base = o.width, z.blocks = o.blocks, z.classes = data.test.classes();
  return z;
}
/// The body's blocks without experts, of hidden width `hidden`.
template <class T, class B>
typename dense<T, B>::config block(const options& o, const images& data, index hidden) {
  const block_sizes z{2 * o.width, hidden, 1, data.test.height / 4, data.test.width / 4};
  return o.backbone == "depthwise" ? depthwise_block<T, B>(z) : standard_block<T, B>(z);
}
template <class T, class B>
typename layer<T, B>::config block_of_experts(kind which, const options& o, const images& data, index experts,
                                              index hidden) {
  const block_sizes z{2 * o.width, hidden, experts, data.test.height / 4, data.test.width / 4, o.capacity};
  return o.backbone == "depthwise" ? depthwise_experts<T, B>(which, z) : standard_experts<T, B>(which, z);
}
template <class Head, class T = typename Head::scalar, class B = typename Head::backend>
typename network<Head>::config network_config(const options& o, const images& data,
                                              const typename dense<T, B>::config& plain,
                                              const typename layer<T, B>::config& experts, nn::placement where,
                                              const typename Head::config& head) {
  const nn::small_cnn_sizes z = sizes_of(o, data);
  return nn::small_cnn_of_config<body<T, B>, T, B, nn::named<"head", Head>>(
      z, nn::mixed_small_cnn_blocks<dense_mlp<T, B>, moe<T, B>>(z, plain, experts, where), head);
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

/// `replaced`: MACs of the dense blocks that the arm's experts replace, in a dense model of `whole` MACs.
template <class Head>
result train(kind which, const std::string& name, const typename network<Head>::config& config, double replaced,
             double whole, const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using model = network<Head>;
  polymoe::trainer<model> run(model(config), recipe(s, o, seed, data.fit.train.size() / s.batch), data.fit);
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params), r.figures["macs"] = static_cast<double>(cost.macs);
    r.figures["rho_static"] = replaced / whole;
    if (!is_dense(which)) {
      const polymoe::compute_share share = polymoe::share_of(cost, replaced);
      const double dropped = r.figures.count("drop_rate") ? r.figures["drop_rate"] : 0.0;
      r.figures["rho_active"] = share.rho_active(share.choices * (1 - dropped));
    }
    // Slots that mix the batch and places that run out make an answer depend on the images of its call: does the
    // accuracy?  Beside them heads where it does not.
    if (is_head(which))
      for (const index b : {index{1}, index{8}, s.batch})
        r.figures["accuracy_at_batch_" + std::to_string(b)] = finished.evaluate_on(data.test, b).accuracy;
    r.description = experiment::last_layer_of(finished);
  });
}

template <class T, class B>
polymoe::routed_shape network_shape(const options& o, const images& data) {
  using linear = nn::linear<T, B>;
  const typename linear::config head{2 * o.width, data.test.classes()};
  const auto cost = [&](index experts, index hidden) {
    const auto one_of_them = block_of_experts<T, B>(kind::k1, o, data, experts, hidden);
    return network<linear>::count(
        network_config<linear>(o, data, {}, one_of_them, nn::placement::every(1, o.blocks), head), 1);
  };
  polymoe::routed_shape s = polymoe::routed_shape_of(cost(1, 8), 8, cost(1, 64), 64, cost(2, 8));
  // A dense block has no router.  A router sees one row of an image: it has as many weights as MACs.
  s.rest -= s.router_macs, s.router_params = s.router_macs, s.block_params -= s.router_params;
  return s;
}

template <class T, class B>
result run_arm(kind which, const std::string& name, index hidden, const settings& s, const options& o,
               std::uint64_t seed, const images& data) {
  using polymoe::match;
  using linear = nn::linear<T, B>;
  const index wide = 2 * o.width, classes = data.test.classes();
  const typename linear::config plain_head{wide, classes};
  const polymoe::routed_shape shape = network_shape<T, B>(o, data);
  const index twin = dense_twin_of(shape, match::active_macs, o, hidden).hidden;
  const double blocks = shape.macs(static_cast<double>(twin)), whole = shape.rest + blocks;
  if (is_head(which)) {
    const auto head = expert_head<T, B>(which, {wide, hidden, o.experts, classes, o.capacity});
    const double replaced = static_cast<double>(2 * hidden * (wide + classes));
    return train<layer<T, B>>(which, name, network_config<layer<T, B>>(o, data, block<T, B>(o, data, twin), {}, {}, head),
                              replaced, whole - static_cast<double>(wide * classes) + replaced, s, o, seed, data);
  }
  const double replaced = routed_part(o) * blocks;
  const auto train_body = [&](index width, const typename layer<T, B>::config& experts, nn::placement where) {
    const auto config = network_config<linear>(o, data, block<T, B>(o, data, width), experts, where, plain_head);
    return train<linear>(which, name, config, replaced, whole, s, o, seed, data);
  };
  if (is_dense(which))
    return train_body(which == kind::dense        ? twin
                      : which == kind::dense_wide ? dense_twin_of(shape, match::parameters, o, hidden).hidden
                      : which == kind::dense_one  ? dense_twin_of(shape, match::active_macs, o, hidden, 1).hidden
                                                  : dense_twin_of(shape, match::total_macs, o, hidden).hidden,
                      {}, {});
  return train_body(twin, block_of_experts<T, B>(which, o, data, o.experts, hidden),
                    nn::placement::named(o.placement, o.blocks));
}

}  // namespace
}  // namespace paper_a
