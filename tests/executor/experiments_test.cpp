// The experiments' layers of experts behind any_layer, trained on CUDA by the host executor against the CPU: the layers
// of papers C and D that no other test trains (Soft MoE, blocks behind one router that is told super-classes, or by a
// table), and what the programs read of a model in the backend's memory.
// timeout: 600
#include "host_executor.hpp"

#include "host_blaslt.hpp"

#include <doctest/doctest.h>
#include <polymoe/cuda_nn.cuh>

#include <paper_c/arms.hpp>
#include <paper_c/expert_choice.hpp>
#include <paper_d/arms.hpp>
#include <paper_d/layers.hpp>

#include "../train/tiny_vit.hpp"

namespace {
using namespace polymoe;
using polymoe::index;
using experiment::any_layer;

template <class B>
using run = trainer<nn::vit<experiment::moe<float, B>>>;

template <class B>
nn::vit<experiment::moe<float, B>> model_of(const typename any_layer<float, B>::config& c) {
  nn::vit_sizes s = tiny::sizes();
  s.depth = 1;
  return nn::vit<experiment::moe<float, B>>(nn::vit_config<experiment::moe<float, B>>(s, c));
}

void close(double device, double host, double relative) {
  CHECK(std::abs(device - host) <= relative * std::max(std::abs(host), 1e-3));
}
/// Four steps, of which the device replays the last two, and an evaluation.  The mean load spread of the steps.
double same_way(run<cpu>& host, run<cuda>& device) {
  double spread = 0;
  while (!host.finished()) {
    const train_step a = host.step(), b = device.step();
    close(b.loss, a.loss, 1e-4);
    close(b.balance_loss, a.balance_loss, 1e-3);
    close(b.grad_norm, a.grad_norm, 1e-3);
    close(b.entropy, a.entropy, 1e-4);
    close(b.load_cv, a.load_cv, 1e-3);
    CHECK((b.has_experts && b.images == a.images && b.drop_rate == a.drop_rate));
    spread += a.load_cv;
  }
  const train_summary a = host.evaluate(), b = device.evaluate();
  close(b.loss, a.loss, 2e-3);
  close(b.experts.entropy(), a.experts.entropy(), 1e-3);
  REQUIRE(a.class_expert.size() == 1);
  for (std::size_t i = 0; i < a.class_expert[0].size(); ++i) close(b.class_expert[0][i], a.class_expert[0][i], 1e-3);
  for (std::size_t e = 0; e < a.experts.layers[0].load.size(); ++e)
    close(b.experts.layers[0].load[e], a.experts.layers[0].load[e], 1e-3);
  return spread;
}
train_options four_steps() {
  train_options o = tiny::options(2);
  o.batch = 4;
  return o;
}
}  // namespace

TEST_CASE("Soft MoE learns on CUDA as on the CPU, its statistics and the pooled features included") {
  const train_test data = tiny::images(8, 6);
  paper_c::layer_sizes z;
  z.dim = 16, z.hidden = 12, z.experts = 4, z.tokens = tiny::tokens;
  run<cpu> host(model_of<cpu>(paper_c::soft<float, cpu>(1, z)), four_steps(), data);
  run<cuda> device(model_of<cuda>(paper_c::soft<float, cuda>(1, z)), four_steps(), data);
  CHECK(same_way(host, device) > 0);
  const auto a = paper_c::features_of(host, data.train, 7), b = paper_c::features_of(device, data.train, 7);
  CHECK(a.labels == b.labels);
  REQUIRE((a.labels.size() == 7 && a.rows.size() == 7 * 16 && b.rows.size() == a.rows.size()));
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.rows.size(); ++i)
    difference += std::pow(a.rows[i] - b.rows[i], 2), size += std::pow(a.rows[i], 2);
  CHECK(size > 1);
  CHECK(std::sqrt(difference / size) < 2e-3);
}

TEST_CASE("blocks behind one router learn super-classes on CUDA as on the CPU") {
  const train_test data = tiny::images(8, 6);
  const paper_d::layer_sizes z{16, 64, 2, tiny::tokens, 4, 1, 0};
  train_options o = four_steps();
  o.expert_of_class = {1, 0, 3, 2};
  run<cpu> host(model_of<cpu>(paper_d::told_blocks<float, cpu, 1, unit::mean>(z, 0.5)), o, data);
  run<cuda> device(model_of<cuda>(paper_d::told_blocks<float, cuda, 1, unit::mean>(z, 0.5)), o, data);
  same_way(host, device);
  const double right = paper_d::router_accuracy(host);
  CHECK(right == paper_d::router_accuracy(device));
  CHECK((right > 0 && right <= 1));
}

TEST_CASE("blocks whose experts a table names read it in the device's memory") {
  const train_test data = tiny::images(8, 6);
  const paper_d::layer_sizes z{16, 64, 2, tiny::tokens, 4, 1, 0};
  train_options o = four_steps();
  o.expert_of_class = {1, 0, 3, 2};
  run<cpu> host(model_of<cpu>(paper_d::oracle_blocks<float, cpu>(z)), o, data);
  run<cuda> device(model_of<cuda>(paper_d::oracle_blocks<float, cuda>(z)), o, data);
  const auto tell = [](auto& t) {
    each_expert_layer(t.work().module(), t.work().saved(),
                      [&](auto& told, auto&) { paper_d::set_experts(told, t.targets()); });
  };
  tell(host), tell(device);
  same_way(host, device);
  CHECK(paper_d::router_accuracy(device) == 1);
}
