// One arm of paper C: train, then probe the features before the head with few labels.  One text for both backends.
#pragma once

#include <map>

#include "../experiment/train_arm.hpp"
#include "../experiment/vit.hpp"
#include "paper_c.hpp"

namespace paper_c {
namespace {

namespace nn = polymoe::nn;

/// Features of up to `most` images: what the model's pooling gives, in evaluation mode.
template <class Trainer>
features features_of(Trainer& t, const polymoe::dataset& from, index most) {
  using T = typename Trainer::T;
  using memory = typename Trainer::memory;
  using block = typename Trainer::block;
  auto& w = t.work();
  const index batch = t.options().batch, n = std::min(most, from.size());
  const auto pooled = w.saved().between[4];
  const index D = pooled.cols, classes = w.module().out_cols(), pixels = from.features();
  polymoe::loader_options load;
  load.batch = batch;
  typename Trainer::source source(w.ctx(), from, load);
  const auto bytes = [](index numbers) { return static_cast<std::size_t>(numbers) * sizeof(T); };
  block in(bytes(batch * pixels)), out(bytes(batch * classes));
  const polymoe::view<T> x(static_cast<T*>(in.data()), batch, pixels), y(static_cast<T*>(out.data()), batch, classes);
  std::vector<T> rows(static_cast<std::size_t>(batch * pooled.stride));
  features all;
  const auto count = [&] { return static_cast<index>(all.labels.size()); };
  w.ctx().mode = polymoe::run_mode::eval;
  for (index b = 0; b < source.batches() && count() < n; ++b) {
    const index filled = source.fill(w.ctx(), b, x), used = std::min(filled, n - count());
    w.forward(x.rows_at(0, filled), y.rows_at(0, filled));
    memory::read(w.ctx().stream, rows.data(), pooled.ptr[0], bytes(used * pooled.stride));
    const auto labels = source.host_labels(used);
    all.labels.insert(all.labels.end(), labels.begin(), labels.end());
    for (index r = 0; r < used; ++r)
      for (index j = 0; j < D; ++j)
        all.rows.push_back(static_cast<float>(rows[static_cast<std::size_t>(r * pooled.stride + j)]));
  }
  w.ctx().mode = polymoe::run_mode::train;
  return all;
}

/// What the transport plans of one call of test images cost, by the names of solvers; nothing for other routers.
template <class Trainer>
void add_transport_costs(Trainer& t, const polymoe::dataset& test, result& r) {
  features_of(t, test, t.options().batch);
  std::map<std::string, polymoe::analysis::transport_costs> all;
  polymoe::each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
    for (const auto& one : layer.transport(t.work().ctx(), saved)) all[one.solver].add(one.costs);
  });
  for (const auto& [solver, costs] : all) {
    const auto put = [&, name = "transport_" + solver](const char* figure, double x) { r.figures[name + figure] = x; };
    put("_primal", costs.per_unit(costs.primal())), put("_dual", costs.per_unit(costs.dual));
    put("_gap", costs.per_unit(costs.gap())), put("_cost", costs.per_unit(costs.transport));
    put("_unit_error", costs.unit_error), put("_expert_error", costs.expert_error);
    put("_steps", costs.steps_of_group());
  }
}

template <class Model>
result train(const std::string& name, const typename Model::config& config, const settings& s, const options& o,
             std::uint64_t seed, const images& data, const images& probe) {
  polymoe::trainer<Model> run(Model(config), experiment::adamw_recipe(s, seed), data.fit);
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = Model::count(config, 1);
    r.figures["steps"] = static_cast<double>(finished.total_steps());
    r.figures["parameters"] = static_cast<double>(cost.params), r.figures["macs"] = static_cast<double>(cost.macs);
    r.description = experiment::last_layer_of(finished);
    add_transport_costs(finished, data.test, r);
    const features known = features_of(finished, probe.fit.train, 20000),
                   asked = features_of(finished, probe.test, 5000);
    add_probes(known, asked, probe.test.classes(), o, r);
  });
}

template <class T, class B>
result run_arm(router which, double capacity, const std::string& name, const settings& s, const options& o,
               std::uint64_t seed, const images& data, const images& probe) {
  using mlp_type = experiment::dense_mlp<T, B>;
  using moe_type = experiment::moe<T, B>;
  nn::vit_sizes z = o.sizes(data);
  z.class_token = o.pool == "class_token";
  if (which == router::dense)
    return train<nn::vit<mlp_type>>(name, nn::vit_config<mlp_type>(z), s, o, seed, data, probe);
  const layer_sizes sizes{z.dim, z.mlp_hidden(), o.experts, o.group_images, z.tokens()};
  const bool token =
      which == router::softmax_tc || which == router::sinkhorn_tc || which == router::sinkhorn_plan_tc;
  const typename layer<T, B>::config experts = token ? token_choice<T, B>(which, static_cast<int>(capacity), sizes)
                                               : which == router::soft ? soft<T, B>(capacity, sizes)
                                                                       : expert_choice<T, B>(which, capacity, sizes);
  const auto where = nn::placement::named(o.placement, z.depth);
  return train<nn::mixed_vit<mlp_type, moe_type>>(name, nn::mixed_vit_config<mlp_type, moe_type>(z, experts, where), s,
                                                  o, seed, data, probe);
}

}  // namespace
}  // namespace paper_c
