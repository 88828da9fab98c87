// The network and its arms for one kind of block; instantiated in one source file per kind.
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
#include <polymoe/polymoe.hpp>

#include "../experiment/train_arm.hpp"
#include "paper_a.hpp"

namespace paper_a {
namespace {

namespace nn = polymoe::nn;
namespace act = polymoe::act;
namespace overflow = polymoe::overflow;
using T = float;

template <class Expert, class Router, class Capacity, class Balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>>
struct body_spec : polymoe::spec {
  using unit = polymoe::unit::feature_map;
  using router = Router;
  using capacity = Capacity;
  using expert = Expert;
  using balance = Balance;
  static constexpr int most_experts = 32;
};
template <class Expert, int K, class Overflow>
using limited = body_spec<Expert, polymoe::top_k<K, polymoe::score::noisy_constant<>>, polymoe::capacity::bounded<Overflow>>;
template <class Expert>
using whole = body_spec<Expert, polymoe::top_k<1>, polymoe::capacity::unlimited, polymoe::balance::none>;

template <class Router, class Balance = polymoe::balance::none>
struct head_spec : polymoe::spec {
  using router = Router;
  using expert = polymoe::expert::head<act::relu>;
  using balance = Balance;
  static constexpr int most_experts = 32;
};

using stage = nn::sequential<nn::named<"conv", nn::conv2d<T>>, nn::named<"norm", nn::group_norm<T>>,
                             nn::activation<act::relu, T>, nn::pool2d<T>>;
template <class Spec>
using block = nn::residual<nn::sequential<nn::named<"norm", nn::group_norm<T>>, nn::named<"moe", polymoe::layer<Spec, polymoe::cpu>>>>;
template <class Spec, class Head>
using network = nn::sequential<nn::pixels<T>, nn::named<"stage1", stage>, nn::named<"stage2", stage>,
                               nn::named<"body", nn::repeat<block<Spec>>>, nn::pool<T>, nn::named<"head", Head>>;

stage::config stage_config(index in, index out, index height, index width) {
  nn::conv2d<T>::config conv{in, out, height, width, 3, 1, 1, false};
  conv.init = nn::conv_init::he;
  return {{conv, {out, 8, height * width}, {out}, {out, height, width, 2}}};
}
template <class Spec, class Head>
typename network<Spec, Head>::config network_config(const options& o, const images& data, index experts, index hidden,
                                                    const typename Head::config& head) {
  const index h = data.test.height, w = data.test.width, wide = 2 * o.width;
  typename polymoe::layer<Spec, polymoe::cpu>::config moe;
  moe.dim = wide, moe.hidden = hidden, moe.experts = experts, moe.unit_rows = (h / 4) * (w / 4), moe.map_height = h / 4;
  if constexpr (requires { moe.capacity.factor; }) moe.capacity.factor = static_cast<float>(o.capacity);
  typename nn::repeat<block<Spec>>::config body;
  body.block = {{{wide, 8, moe.unit_rows}, moe}}, body.count = o.blocks;
  return {{{data.test.channels, h, w}, stage_config(data.test.channels, o.width, h, w), stage_config(o.width, wide, h / 2, w / 2),
           body, {wide, moe.unit_rows}, head}};
}

polymoe::train_options recipe(const settings& s, const options& o, std::uint64_t seed, index steps_per_epoch) {
  polymoe::train_options t = experiment::options_of(s, seed);
  t.clip_norm = 1, t.warmup_epochs = std::min(1.0, 0.1 * static_cast<double>(s.epochs));
  if (o.temperature != "constant") {
    polymoe::temperature_schedule tau;
    tau.how = o.temperature == "linear" ? polymoe::temperature_schedule::shape::linear : polymoe::temperature_schedule::shape::sigmoid;
    tau.least = o.least_temperature, tau.total = steps_per_epoch * s.epochs, tau.entropy_floor = o.entropy_floor;
    t.temperature = tau;
  }
  return t;
}

/// `routed` and `twin` are MACs of the routed blocks of the arm and of the dense blocks they stand for.
template <class Spec, class Head>
result run_network(const std::string& name, const typename network<Spec, Head>::config& config, double twin_block, const settings& s,
                   const options& o, std::uint64_t seed, const images& data) {
  using model = network<Spec, Head>;
  polymoe::trainer<model> run(model(config), recipe(s, o, seed, data.fit.train.size() / s.batch), data.fit);
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params), r.figures["macs"] = static_cast<double>(cost.macs);
    const double rest = static_cast<double>(cost.macs - cost.routed_macs);
    r.figures["rho_static"] = twin_block / (rest + twin_block);
    r.figures["rho_active"] = static_cast<double>(cost.routed_macs) / static_cast<double>(cost.macs) *
                              (1 - (r.figures.count("drop_rate") ? r.figures["drop_rate"] : 0.0));
    // A batch-axis layer mixes the images of a call: does the accuracy depend on their number?
    for (const index b : {index{1}, index{8}, s.batch})
      if (name.rfind("head_batch", 0) == 0)
        r.figures["accuracy_at_batch_" + std::to_string(b)] = finished.evaluate_on(data.test, b).accuracy;
    polymoe::each_expert_layer(finished.work().module(), finished.work().saved(),
                               [&](auto& layer, auto&) { r.description = layer.describe(); });
  });
}

template <class Expert>
result run_kind(kind which, const std::string& name, index hidden, const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using linear = nn::linear<T>;
  using polymoe::balance::sum, polymoe::balance::importance, polymoe::balance::load;
  const index wide = 2 * o.width, classes = data.test.classes();
  const linear::config plain{wide, classes};
  // The dense blocks that the experts stand for: hidden width 2 H.
  const double block = static_cast<double>(network<whole<Expert>, linear>::count(network_config<whole<Expert>, linear>(o, data, 1, 2 * hidden, plain), 1).routed_macs);
  const auto body = [&]<class Spec>(std::type_identity<Spec>, index experts, index h) {
    return run_network<Spec, linear>(name, network_config<Spec, linear>(o, data, experts, h, plain), block, s, o, seed, data);
  };
  const auto head = [&]<class Spec>(std::type_identity<Spec>) {
    using layer = polymoe::layer<Spec, polymoe::cpu>;
    typename layer::config c;
    c.dim = wide, c.hidden = hidden, c.experts = o.experts, c.classes = classes;
    const double routed = static_cast<double>(2 * hidden * (wide + classes));
    return run_network<whole<Expert>, layer>(name, network_config<whole<Expert>, layer>(o, data, 1, 2 * hidden, c), routed, s, o, seed, data);
  };
  switch (which) {
    case kind::dense: return body(std::type_identity<whole<Expert>>{}, 1, 2 * hidden);
    case kind::dense_wide: return body(std::type_identity<whole<Expert>>{}, 1, o.experts * hidden);
    case kind::k1: return body(std::type_identity<limited<Expert, 1, overflow::drop>>{}, o.experts, hidden);
    case kind::k2: return body(std::type_identity<limited<Expert, 2, overflow::drop>>{}, o.experts, hidden);
    case kind::k2_free: return body(std::type_identity<body_spec<Expert, polymoe::top_k<2, polymoe::score::noisy_constant<>>, polymoe::capacity::unlimited>>{}, o.experts, hidden);
    case kind::k2_reroute: return body(std::type_identity<limited<Expert, 2, overflow::reroute<2>>>{}, o.experts, hidden);
    case kind::k2_fallback: return body(std::type_identity<limited<Expert, 2, overflow::fallback>>{}, o.experts, hidden);
    case kind::soft: return body(std::type_identity<body_spec<Expert, polymoe::mixture<>, polymoe::capacity::unlimited, polymoe::balance::none>>{}, o.experts, hidden);
    case kind::head_k2: return head(std::type_identity<head_spec<polymoe::top_k<2, polymoe::score::noisy_constant<>>, sum<importance, load>>>{});
    case kind::head_soft: return head(std::type_identity<head_spec<polymoe::mixture<>>>{});
    case kind::head_batch: break;
  }
  return head(std::type_identity<head_spec<polymoe::soft_slots<polymoe::axis::batch>>>{});
}

}  // namespace
}  // namespace paper_a
