// The network around the experts, and what an arm measures.  One text for both backends.
//
// nn::small_cnn with experts in blocks of its body, or in its head.
#pragma once

#include <cmath>

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
inline block_sizes block_of(const options& o, const images& data, const layer_sizes& experts) {
  return {experts, 2 * o.width, data.test.height / 4, data.test.width / 4};
}
/// The body's blocks without experts, of hidden width `hidden`.
template <class T, class B>
typename dense<T, B>::config block(const options& o, const images& data, index hidden) {
  const block_sizes z = block_of(o, data, {.hidden = hidden});
  return o.backbone == "depthwise" ? depthwise_block<T, B>(z) : standard_block<T, B>(z);
}
template <class T, class B>
typename layer<T, B>::config block_of_experts(kind which, const options& o, const images& data,
                                              const layer_sizes& experts) {
  const block_sizes z = block_of(o, data, experts);
  return o.backbone == "depthwise" ? depthwise_experts<T, B>(which, z) : standard_experts<T, B>(which, z);
}
inline head_sizes head_of(const options& o, const images& data, const layer_sizes& experts) {
  return {experts, 2 * o.width, data.test.classes()};
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
    // Of an image in a call of a training batch: slots that mix it are as many whatever it has.
    const polymoe::cost cost = model::count(config, s.batch);
    const auto batch = static_cast<double>(s.batch);
    r.figures["parameters"] = static_cast<double>(cost.params),
    r.figures["macs"] = static_cast<double>(cost.macs) / batch;
    r.figures["rho_static"] = replaced / whole;
    if (!is_dense(which)) {
      const polymoe::compute_share share = polymoe::share_of(cost, replaced * batch);
      const auto figure = [&](const char* key) { return r.figures.count(key) ? r.figures[key] : 0.0; };
      // Who is its own expert costs nothing, as who is dropped.
      const double idle = figure("drop_rate") + (which == kind::k2_identity ? figure("overflow_rate") : 0.0);
      r.figures["rho_active"] = share.rho_active(share.choices * (1 - idle));
    }
    if (is_of_calls(which)) {
      const polymoe::dataset some = data.test.slice(0, std::min(data.test.size(), most_of_calls));
      for (const index n : call_sizes(s.batch)) r.figures[figure_of_calls(n)] = finished.evaluate_on(some, n).accuracy;
    }
    r.description = experiment::last_layer_of(finished);
  });
}

/// `cost(experts)` of a network with one expert for every unit, of `experts.experts` in each of its layers.
template <class Cost>
polymoe::routed_shape shape_by(const Cost& cost) {
  polymoe::routed_shape s = polymoe::routed_shape_of(cost(layer_sizes{8, 1}), 8, cost(layer_sizes{64, 1}), 64,
                                                     cost(layer_sizes{8, 2}));
  // A dense block has no router.  A router sees one row of an image: it has as many weights as MACs.
  s.rest -= s.router_macs, s.router_params = s.router_macs, s.block_params -= s.router_params;
  return s;
}
template <class T, class B>
polymoe::routed_shape body_shape(const options& o, const images& data) {
  const auto head = dense_head<T, B>(head_of(o, data, {}));
  return shape_by([&](const layer_sizes& z) {
    return network<dense<T, B>>::count(
        network_config<dense<T, B>>(o, data, {}, block_of_experts<T, B>(kind::k1, o, data, z),
                                    nn::placement::every(1, o.blocks), head),
        1);
  });
}
template <class T, class B>
polymoe::routed_shape head_shape(const options& o, const images& data, index hidden) {
  const index twin = dense_twin_of(body_shape<T, B>(o, data), polymoe::match::active_macs, o, hidden).hidden;
  return shape_by([&](const layer_sizes& z) {
    return network<layer<T, B>>::count(
        network_config<layer<T, B>>(o, data, block<T, B>(o, data, twin), {}, {},
                                    expert_head<T, B>(kind::head_k1, head_of(o, data, z))),
        1);
  });
}

/// An arm whose body has no experts.
template <class T, class B>
result run_head(kind which, const std::string& name, index hidden, index twin, const layer_sizes& experts,
                const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using polymoe::match;
  const polymoe::routed_shape shape = head_shape<T, B>(o, data, hidden);
  const auto width_by = [&](match m) { return twin_of(shape, m, twin_sizes(o, hidden)).hidden; };
  const double replaced = shape.macs(static_cast<double>(width_by(match::active_macs)));
  const auto plain = block<T, B>(o, data, twin);
  if (is_dense(which)) {
    const index width = width_by(which == kind::head_dense        ? match::active_macs
                                 : which == kind::head_dense_wide ? match::parameters
                                                                  : match::total_macs);
    const auto head = dense_head<T, B>(head_of(o, data, {.hidden = width}));
    return train<dense<T, B>>(which, name, network_config<dense<T, B>>(o, data, plain, {}, {}, head), replaced,
                              shape.rest + replaced, s, o, seed, data);
  }
  const auto head = expert_head<T, B>(which, head_of(o, data, experts));
  return train<layer<T, B>>(which, name, network_config<layer<T, B>>(o, data, plain, {}, {}, head), replaced,
                            shape.rest + replaced, s, o, seed, data);
}

template <class T, class B>
result run_arm(kind which, const std::string& name, index hidden, const settings& s, const options& o,
               std::uint64_t seed, const images& data) {
  using polymoe::match;
  const polymoe::routed_shape shape = body_shape<T, B>(o, data);
  const auto twin_by = [&](match m, int k = 2) { return dense_twin_of(shape, m, o, hidden, k).hidden; };
  const index twin = twin_by(match::active_macs);
  const polymoe::expert_sizes found = experts_of(which, shape, o, hidden);
  const double per_expert = o.slots * static_cast<double>(s.batch) / static_cast<double>(found.experts);
  const layer_sizes experts{found.hidden, found.experts, o.capacity, std::max<index>(1, std::llround(per_expert))};
  if (is_head(which)) return run_head<T, B>(which, name, hidden, twin, experts, s, o, seed, data);
  const double blocks = shape.macs(static_cast<double>(twin));
  const auto train_body = [&](index width, const typename layer<T, B>::config& special, nn::placement where) {
    const auto config = network_config<dense<T, B>>(o, data, block<T, B>(o, data, width), special, where,
                                                    dense_head<T, B>(head_of(o, data, {})));
    return train<dense<T, B>>(which, name, config, routed_part(o) * blocks, shape.rest + blocks, s, o, seed, data);
  };
  if (is_dense(which))
    return train_body(which == kind::dense        ? twin
                      : which == kind::dense_wide ? twin_by(match::parameters)
                      : which == kind::dense_one  ? twin_by(match::active_macs, 1)
                                                  : twin_by(match::total_macs),
                      {}, {});
  return train_body(twin, block_of_experts<T, B>(which, o, data, experts),
                    nn::placement::named(o.placement, o.blocks));
}

}  // namespace
}  // namespace paper_a
