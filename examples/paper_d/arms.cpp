// The arms of paper D.
#include <filesystem>

#include <polymoe/analysis/super_classes.hpp>

#include "../experiment/train_arm.hpp"
#include "../experiment/vit.hpp"
#include "paper_d.hpp"

namespace paper_d {
namespace {

namespace nn = polymoe::nn;
namespace analysis = polymoe::analysis;
using T = float;
using experiment::dense_mlp;
using polymoe::require;

/// depth - L dense blocks, then L blocks with experts behind one router.
using dense_blocks = nn::repeat<nn::encoder_block<dense_mlp>>;
using blocks = nn::sequential<nn::named<"", dense_blocks>, nn::named<"", layer>>;
using one_router = nn::vit_of<blocks>;

/// The classes' clusters: which expert each class is meant for.
std::vector<int> clusters_of(routing how, const settings& s, const options& o, std::uint64_t seed, const images& data,
                             result& r) {
  const int classes = static_cast<int>(data.test.classes()), E = static_cast<int>(o.experts);
  if (how == routing::coarse_class) {
    require(!data.fit.train.coarse.empty(), "coarse_class: ", data.name, " has no coarse labels; CIFAR-100 has");
    require(static_cast<index>(data.fit.train.coarse_names.size()) >= o.experts,
            "coarse_class: ", data.fit.train.coarse_names.size(), " coarse labels for ", E, " experts");
    // Coarse labels in turns where there are more of them than experts.
    std::vector<int> of(static_cast<std::size_t>(classes), -1);
    for (std::size_t i = 0; i < data.fit.train.coarse.size(); ++i)
      of[static_cast<std::size_t>(data.fit.train.labels[i])] = data.fit.train.coarse[i] % E;
    return of;
  }
  const std::string file = experiment::folder_of(s, "dense", seed) + "/result.json";
  require(std::filesystem::exists(file), file,
          ": super-classes come from the dense arm's confusions; run the arm dense first");
  const result dense = experiment::read_result(file, experiment::identity_of(s));
  std::vector<index> counts;
  for (const double n : dense.lists.at("validation_confusion")) counts.push_back(static_cast<index>(n));
  const std::vector<double> graph = analysis::confusion_graph(counts, classes);
  std::vector<int> of;
  if (how == routing::random_class)
    of = analysis::at_random(classes, E, seed);
  else if (o.clustering == "balanced")
    of = analysis::spectral(graph, classes, E, seed, true);
  else if (o.clustering == "agglomerative")
    of = analysis::agglomerative(graph, classes, E);
  else if (o.clustering == "modularity")
    of = analysis::by_modularity(graph, classes, E);
  else
    of = analysis::spectral(graph, classes, E, seed);
  const analysis::cluster_quality q = analysis::quality_of(graph, of, E);
  r.figures["confusion_inside"] = q.inside, r.figures["modularity"] = q.modularity;
  return of;
}

/// Share of the validation images whose first choice is the expert they are meant for.
template <class Trainer>
double router_accuracy(Trainer& t) {
  index right = 0, all = 0;
  t.evaluate([&](index, index n) {
    polymoe::each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
      const auto plan = layer.plan(t.work().ctx(), saved);
      const auto& chosen = std::get<polymoe::sparse_plan<T>>(plan.of);
      for (index i = 0; i < n; ++i) right += chosen.expert_of[i * chosen.k] == t.targets()[i];
      all += n;
    });
  });
  return static_cast<double>(right) / static_cast<double>(std::max<index>(all, 1));
}

template <class Model>
result train(const std::string& name, const typename Model::config& config, const polymoe::train_options& t,
             const settings& s, std::uint64_t seed, const images& data, const result& extra, bool oracle = false) {
  polymoe::trainer<Model> run(Model(config), t, data.fit);
  if (oracle)
    polymoe::each_expert_layer(run.work().module(), run.work().saved(),
                               [&](layer& told, auto&) { set_experts(told, run.targets()); });
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = Model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params);
    r.figures["active_parameters"] = static_cast<double>(cost.active_params);
    r.figures["macs"] = static_cast<double>(cost.macs);
    r.figures["routed_share"] = static_cast<double>(cost.routed_macs) / static_cast<double>(cost.macs);
    r.figures.insert(extra.figures.begin(), extra.figures.end());
    r.lists.insert(extra.lists.begin(), extra.lists.end());
    for (const index n : finished.evaluate().confusion)
      r.lists["validation_confusion"].push_back(static_cast<double>(n));
    if (!t.expert_of_class.empty()) r.figures["router_accuracy"] = router_accuracy(finished);
  });
}

}  // namespace

result run(routing how, const std::string& name, const settings& s, const options& o, std::uint64_t seed,
           const images& data) {
  require(o.moe_blocks < o.depth, "--moe-blocks ", o.moe_blocks, ": of ", o.depth, " blocks at least one stays dense");
  const nn::vit_sizes z = experiment::vit_sizes_of(o, data);
  const dense_mlp::config mlp{o.dim, 4 * o.dim};
  polymoe::train_options t = experiment::adamw_recipe(s, seed);
  if (how == routing::dense)
    return train<nn::vit<dense_mlp>>(name, nn::vit_config<dense_mlp>(z, mlp), t, s, seed, data, {});
  const layer_sizes sizes{o.dim, o.heads, z.tokens(), o.experts, o.moe_blocks, o.depth - o.moe_blocks};
  if (how == routing::learned_token) {
    using model = nn::mixed_vit<dense_mlp, experiment::moe>;
    const auto where = nn::placement::last(o.moe_blocks, o.depth);
    const auto config = nn::mixed_vit_config<dense_mlp, experiment::moe>(z, mlp, token_layer(sizes, o.k), where);
    return train<model>(name, config, t, s, seed, data, {});
  }
  const bool oracle = how == routing::oracle;
  result extra;
  if (how != routing::learned_image) {
    t.expert_of_class = clusters_of(oracle ? routing::super_class : how, s, o, seed, data, extra);
    for (const int e : t.expert_of_class) extra.lists["expert_of_class"].push_back(e);
  }
  dense_blocks::config front;
  front.block = nn::detail::vit_block<dense_mlp>(z, mlp), front.count = sizes.first;
  const layer::config back = how == routing::learned_image ? learned_blocks(sizes, o.k)
                             : oracle                      ? oracle_blocks(sizes)
                                                           : told_blocks(sizes, o.k, o.lambda);
  return train<one_router>(name, nn::vit_of_config<blocks>(z, {{front, back}}), t, s, seed, data, extra, oracle);
}

}  // namespace paper_d
