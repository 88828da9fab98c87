// The arms of paper D.
#include <polymoe/analysis/super_classes.hpp>
#include <polymoe/nn/routed_blocks.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/polymoe.hpp>

#include <filesystem>

#include "../experiment/train_arm.hpp"
#include "paper_d.hpp"

namespace paper_d {
namespace {

namespace nn = polymoe::nn;
namespace analysis = polymoe::analysis;
using T = float;
using dense_mlp = nn::named<"mlp", nn::mlp_block<T>>;
using dense_blocks = nn::repeat<nn::encoder_block<dense_mlp>>;
using polymoe::require;

template <int K>
struct token_spec : polymoe::spec {
  using router = polymoe::top_k<K, polymoe::score::noisy_constant<>>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};
template <int K>
struct image_spec : token_spec<K> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
};
/// The router's only loss is the cross-entropy against super-classes.
template <int K>
struct told_spec : polymoe::spec {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::top_k<K>;
  using balance = polymoe::balance::supervised;
  static constexpr int most_experts = 32;
};
struct oracle_spec : polymoe::spec {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::fixed<>;
  static constexpr int most_experts = 32;
};

/// depth - L dense blocks, then L blocks with experts behind one router.
template <class Spec>
using one_router = nn::vit_of<nn::sequential<nn::named<"", dense_blocks>, nn::named<"", nn::routed_blocks<Spec>>>>;

nn::vit_sizes sizes_of(const options& o, const images& data) {
  nn::vit_sizes z;
  z.channels = data.test.channels, z.height = data.test.height, z.width = data.test.width;
  z.patch = o.patch, z.dim = o.dim, z.heads = o.heads, z.depth = o.depth, z.classes = data.test.classes();
  return z;
}
template <class Spec>
typename one_router<Spec>::config one_router_config(const nn::vit_sizes& z, const options& o) {
  using tail = nn::routed_blocks<Spec>;
  dense_blocks::config front;
  front.block = nn::detail::vit_block<dense_mlp>(z, {o.dim, 4 * o.dim}), front.count = z.depth - o.moe_blocks;
  typename tail::config back;
  back.attention.dim = z.dim, back.attention.heads = z.heads, back.attention.tokens = z.tokens();
  back.moe.dim = o.dim, back.moe.hidden = 4 * o.dim, back.moe.experts = o.experts, back.moe.unit_rows = z.tokens();
  if constexpr (std::is_same_v<typename Spec::balance, polymoe::balance::supervised>)
    back.moe.balance.template get<polymoe::balance::supervised>().weight = static_cast<float>(o.lambda);
  back.count = o.moe_blocks, back.first = front.count;
  return nn::vit_of_config<nn::sequential<nn::named<"", dense_blocks>, nn::named<"", tail>>>(z, {{front, back}});
}

polymoe::train_options recipe(const settings& s, std::uint64_t seed) {
  polymoe::train_options t = experiment::options_of(s, seed);
  t.clip_norm = 1, t.warmup_epochs = std::min(1.0, 0.1 * static_cast<double>(s.epochs));
  return t;
}

/// The classes' clusters: which expert each class is meant for.
std::vector<int> clusters_of(routing how, const settings& s, const options& o, std::uint64_t seed, const images& data, result& r) {
  const int classes = static_cast<int>(data.test.classes()), E = static_cast<int>(o.experts);
  if (how == routing::coarse_class) {
    require(!data.fit.train.coarse.empty(), "coarse_class: ", data.name, " has no coarse labels; CIFAR-100 has");
    require(static_cast<index>(data.fit.train.coarse_names.size()) >= o.experts, "coarse_class: ", data.fit.train.coarse_names.size(), " coarse labels for ", E, " experts");
    // Coarse labels in turns where there are more of them than experts.
    std::vector<int> of(static_cast<std::size_t>(classes), -1);
    for (std::size_t i = 0; i < data.fit.train.coarse.size(); ++i)
      of[static_cast<std::size_t>(data.fit.train.labels[i])] = data.fit.train.coarse[i] % E;
    return of;
  }
  const std::string file = experiment::folder_of(s, "dense", seed) + "/result.json";
  require(std::filesystem::exists(file), file, ": super-classes come from the dense arm's confusions; run the arm dense first");
  const result dense = experiment::read_result(file, experiment::identity_of(s));
  std::vector<index> counts;
  for (const double n : dense.lists.at("validation_confusion")) counts.push_back(static_cast<index>(n));
  const std::vector<double> graph = analysis::confusion_graph(counts, classes);
  std::vector<int> of;
  if (how == routing::random_class) of = analysis::at_random(classes, E, seed);
  else if (o.clustering == "balanced") of = analysis::spectral(graph, classes, E, seed, true);
  else if (o.clustering == "agglomerative") of = analysis::agglomerative(graph, classes, E);
  else if (o.clustering == "modularity") of = analysis::by_modularity(graph, classes, E);
  else of = analysis::spectral(graph, classes, E, seed);
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
      for (index i = 0; i < n; ++i) right += plan.expert_of[i * plan.k] == t.targets()[i];
      all += n;
    });
  });
  return static_cast<double>(right) / static_cast<double>(std::max<index>(all, 1));
}

template <class Model>
result run_model(const std::string& name, const typename Model::config& config, polymoe::train_options t, const settings& s,
                 std::uint64_t seed, const images& data, result extra, auto prepare) {
  polymoe::trainer<Model> run(Model(config), t, data.fit);
  prepare(run);
  return experiment::train_arm(name, seed, s, data, run, [&](auto& finished, result& r) {
    const polymoe::cost cost = Model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params), r.figures["active_parameters"] = static_cast<double>(cost.active_params);
    r.figures["macs"] = static_cast<double>(cost.macs);
    r.figures["routed_share"] = static_cast<double>(cost.routed_macs) / static_cast<double>(cost.macs);
    r.figures.insert(extra.figures.begin(), extra.figures.end()), r.lists.insert(extra.lists.begin(), extra.lists.end());
    for (const index n : finished.evaluate().confusion) r.lists["validation_confusion"].push_back(static_cast<double>(n));
    if (!t.expert_of_class.empty()) r.figures["router_accuracy"] = router_accuracy(finished);
  });
}

template <class Spec>
result run_one_router(const std::string& name, const settings& s, const options& o, std::uint64_t seed, const images& data,
                      const std::vector<int>& of_class, result extra) {
  polymoe::train_options t = recipe(s, seed);
  t.expert_of_class = of_class;
  for (const int e : of_class) extra.lists["expert_of_class"].push_back(e);
  return run_model<one_router<Spec>>(name, one_router_config<Spec>(sizes_of(o, data), o), t, s, seed, data, std::move(extra), [](auto& run) {
    if constexpr (std::is_same_v<Spec, oracle_spec>)
      polymoe::each_expert_layer(run.work().module(), run.work().saved(), [&](auto& blocks, auto&) {
        blocks.router().settings().router.ids = run.targets();
      });
  });
}
template <int K>
result run_k(routing how, const std::string& name, const settings& s, const options& o, std::uint64_t seed, const images& data) {
  const auto nothing = [](auto&) {};
  if (how == routing::learned_token) {
    using moe = nn::named<"moe", polymoe::layer<token_spec<K>, polymoe::cpu>>;
    const nn::vit_sizes z = sizes_of(o, data);
    typename moe::config c;
    c.dim = o.dim, c.hidden = 4 * o.dim, c.experts = o.experts;
    return run_model<nn::mixed_vit<dense_mlp, moe>>(name, nn::mixed_vit_config<dense_mlp, moe>(z, {o.dim, 4 * o.dim}, c, nn::placement::last(o.moe_blocks, o.depth)),
                                                    recipe(s, seed), s, seed, data, {}, nothing);
  }
  if (how == routing::learned_image) return run_one_router<image_spec<K>>(name, s, o, seed, data, {}, {});
  result extra;
  const std::vector<int> of = clusters_of(how, s, o, seed, data, extra);
  return run_one_router<told_spec<K>>(name, s, o, seed, data, of, std::move(extra));
}

}  // namespace

result run(routing how, const std::string& name, const settings& s, const options& o, std::uint64_t seed, const images& data) {
  require(o.moe_blocks < o.depth, "--moe-blocks ", o.moe_blocks, ": of ", o.depth, " blocks at least one stays dense");
  if (how == routing::dense)
    return run_model<nn::vit<dense_mlp>>(name, nn::vit_config<dense_mlp>(sizes_of(o, data), {o.dim, 4 * o.dim}), recipe(s, seed), s, seed, data, {}, [](auto&) {});
  if (how == routing::oracle) {
    result extra;
    const std::vector<int> of = clusters_of(routing::super_class, s, o, seed, data, extra);
    return run_one_router<oracle_spec>(name, s, o, seed, data, of, std::move(extra));
  }
  return o.k == 1 ? run_k<1>(how, name, s, o, seed, data) : run_k<2>(how, name, s, o, seed, data);
}

}  // namespace paper_d
