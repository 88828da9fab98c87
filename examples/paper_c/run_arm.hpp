// One arm of paper C: train, then probe the features before the head with few labels.
#pragma once

#include <polymoe/analysis/linear_probe.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/polymoe.hpp>

#include "../experiment/train_arm.hpp"
#include "paper_c.hpp"

namespace paper_c {

namespace nn = polymoe::nn;
using T = float;
using dense_mlp = nn::named<"mlp", nn::mlp_block<T>>;

inline nn::vit_sizes sizes_of(const options& o, const images& data) {
  nn::vit_sizes z;
  z.channels = data.test.channels, z.height = data.test.height, z.width = data.test.width;
  z.patch = o.patch, z.dim = o.dim, z.heads = o.heads, z.depth = o.depth, z.classes = data.test.classes();
  return z;
}

/// Features of up to `most` images: what the model's pooling gives, in evaluation mode.
template <class Trainer>
std::vector<float> features_of(Trainer& t, const polymoe::dataset& from, index most, std::vector<std::int32_t>& labels) {
  auto& w = t.work();
  const index batch = t.options().batch, n = std::min(most, from.size()), D = w.saved().between[4].cols;
  polymoe::loader_options load;
  load.batch = batch;
  polymoe::loader<T> source(from, load);
  std::vector<float> x(static_cast<std::size_t>(batch * from.features())), y(static_cast<std::size_t>(batch * w.module().out_cols())), out;
  std::vector<std::int32_t> some(static_cast<std::size_t>(batch));
  w.ctx().mode = polymoe::run_mode::eval;
  for (index b = 0; b < source.batches() && static_cast<index>(labels.size()) < n; ++b) {
    const polymoe::view<T> in(x.data(), batch, from.features());
    const index rows = source.fill(w.ctx().stream, b, in, some);
    w.forward(in.rows_at(0, rows), {y.data(), rows, w.module().out_cols()});
    const auto pooled = w.saved().between[4];
    for (index r = 0; r < rows && static_cast<index>(labels.size()) < n; ++r) {
      out.insert(out.end(), pooled.row(r), pooled.row(r) + D);
      labels.push_back(some[static_cast<std::size_t>(r)]);
    }
  }
  w.ctx().mode = polymoe::run_mode::train;
  return out;
}

template <class Model>
result run_model(const std::string& name, const typename Model::config& config, const settings& s, const options& o,
                 std::uint64_t seed, const images& data, const images& probe) {
  polymoe::train_options t = experiment::options_of(s, seed);
  t.clip_norm = 1, t.warmup_epochs = std::min(1.0, 0.1 * static_cast<double>(s.epochs));
  polymoe::trainer<Model> run(Model(config), t, data.fit);
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = Model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params), r.figures["macs"] = static_cast<double>(cost.macs);
    polymoe::each_expert_layer(finished.work().module(), finished.work().saved(),
                               [&](auto& layer, auto&) { r.description = layer.describe(); });
    std::vector<std::int32_t> train_labels, test_labels;
    const auto train = features_of(finished, probe.fit.train, 20000, train_labels), test = features_of(finished, probe.test, 5000, test_labels);
    const index D = o.dim;
    for (const index shots : o.shots) {
      const auto p = polymoe::analysis::linear_probe(
          {{train.data(), static_cast<index>(train_labels.size()), D}, train_labels},
          {{test.data(), static_cast<index>(test_labels.size()), D}, test_labels},
          {.classes = probe.test.classes(), .shots = shots, .seed = seed});
      r.figures["probe_" + std::to_string(shots)] = p.best;
    }
  });
}

template <class Spec>
result run_layer(const std::string& name, const settings& s, const options& o, std::uint64_t seed, const images& data,
                 const images& probe, auto change) {
  using layer = nn::named<"moe", polymoe::layer<Spec, polymoe::cpu>>;
  const nn::vit_sizes z = sizes_of(o, data);
  typename layer::config c;
  c.dim = o.dim, c.hidden = o.mlp, c.experts = o.experts, c.group_size = o.group_images * z.tokens();
  change(c, z);
  using model = nn::mixed_vit<dense_mlp, layer>;
  return run_model<model>(name, nn::mixed_vit_config<dense_mlp, layer>(z, {o.dim, o.mlp}, c, nn::placement::last_odd(o.moe_blocks, o.depth)),
                          s, o, seed, data, probe);
}

}  // namespace paper_c
