// One arm of paper C: train, then probe the features before the head with few labels.
#include <functional>

#include <polymoe/analysis/linear_probe.hpp>

#include "../experiment/train_arm.hpp"
#include "../experiment/vit.hpp"
#include "paper_c.hpp"

namespace paper_c {
namespace {

namespace nn = polymoe::nn;
using T = float;
using experiment::dense_mlp;

struct labelled_features {
  std::vector<float> rows;  ///< [labels.size(), D]
  std::vector<std::int32_t> labels;
};

/// Features of up to `most` images: what the model's pooling gives, in evaluation mode.
template <class Trainer>
labelled_features features_of(Trainer& t, const polymoe::dataset& from, index most) {
  auto& w = t.work();
  const index batch = t.options().batch, n = std::min(most, from.size()), D = w.saved().between[4].cols;
  polymoe::loader_options load;
  load.batch = batch;
  polymoe::loader<T> source(from, load);
  std::vector<float> x(static_cast<std::size_t>(batch * from.features()));
  std::vector<float> y(static_cast<std::size_t>(batch * w.module().out_cols()));
  std::vector<std::int32_t> some(static_cast<std::size_t>(batch));
  labelled_features out;
  const auto count = [&] { return static_cast<index>(out.labels.size()); };
  w.ctx().mode = polymoe::run_mode::eval;
  for (index b = 0; b < source.batches() && count() < n; ++b) {
    const polymoe::view<T> in(x.data(), batch, from.features());
    const index rows = source.fill(w.ctx().stream, b, in, some);
    w.forward(in.rows_at(0, rows), {y.data(), rows, w.module().out_cols()});
    const auto pooled = w.saved().between[4];
    for (index r = 0; r < rows && count() < n; ++r) {
      out.rows.insert(out.rows.end(), pooled.row(r), pooled.row(r) + D);
      out.labels.push_back(some[static_cast<std::size_t>(r)]);
    }
  }
  w.ctx().mode = polymoe::run_mode::train;
  return out;
}

void add_probes(const labelled_features& known, const labelled_features& asked, index classes, const options& o,
                result& r) {
  const auto examples = [&](const labelled_features& f) {
    return polymoe::analysis::labelled_features{{f.rows.data(), static_cast<index>(f.labels.size()), o.dim}, f.labels};
  };
  for (const index shots : o.shots) {
    const auto p = polymoe::analysis::linear_probe(examples(known), examples(asked),
                                                   {.classes = classes, .shots = shots, .seed = r.seed});
    r.figures["probe_" + std::to_string(shots)] = p.best;
  }
}

template <class Model>
result train(const std::string& name, const typename Model::config& config, const settings& s, const options& o,
             std::uint64_t seed, const images& data, const images& probe) {
  polymoe::trainer<Model> run(Model(config), experiment::adamw_recipe(s, seed), data.fit);
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = Model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params), r.figures["macs"] = static_cast<double>(cost.macs);
    r.description = experiment::last_layer_of(finished);
    const labelled_features known = features_of(finished, probe.fit.train, 20000),
                            asked = features_of(finished, probe.test, 5000);
    add_probes(known, asked, probe.test.classes(), o, r);
  });
}

}  // namespace

result run(router which, int capacity, const std::string& name, const settings& s, const options& o, std::uint64_t seed,
           const images& data, const images& probe) {
  const nn::vit_sizes z = experiment::vit_sizes_of(o, data);
  const dense_mlp::config mlp{o.dim, o.mlp};
  if (which == router::dense)
    return train<nn::vit<dense_mlp>>(name, nn::vit_config<dense_mlp>(z, mlp), s, o, seed, data, probe);
  const layer_sizes sizes{o.dim, o.mlp, o.experts, o.group_images, z.tokens()};
  const bool token = which == router::softmax_tc || which == router::sinkhorn_tc;
  const layer::config experts = token                   ? token_choice(which, capacity, sizes)
                                : which == router::soft ? soft(capacity, sizes)
                                                        : expert_choice(which, capacity, sizes);
  using model = nn::mixed_vit<dense_mlp, experiment::moe>;
  const auto where = nn::placement::last_odd(o.moe_blocks, o.depth);
  return train<model>(name, nn::mixed_vit_config<dense_mlp, experiment::moe>(z, mlp, experts, where), s, o, seed, data,
                      probe);
}

}  // namespace paper_c
