// The arms of paper D.  One text for both backends.
#pragma once

#include <polymoe/unit/unit.hpp>

#include "../experiment/train_arm.hpp"
#include "../experiment/vit.hpp"
#include "paper_d.hpp"

namespace paper_d {
namespace {

namespace nn = polymoe::nn;

/// depth - L dense blocks, then L blocks with experts behind one router.
template <class T, class B>
using dense_blocks = nn::repeat<nn::encoder_block<experiment::dense_mlp<T, B>>>;
template <class T, class B>
using blocks = nn::sequential<nn::named<"", dense_blocks<T, B>>, nn::named<"", layer<T, B>>>;

/// Share of the validation images whose first choice is the expert they are meant for.
template <class Trainer>
double router_accuracy(Trainer& t) {
  using plan_type = polymoe::sparse_plan<polymoe::compute_t<typename Trainer::T>>;
  index right = 0, all = 0;
  std::vector<int> meant;
  t.evaluate([&](index, index n) {
    meant.resize(static_cast<std::size_t>(n));
    Trainer::memory::read(t.work().ctx().stream, meant.data(), t.targets(), meant.size() * sizeof(int));
    polymoe::each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
      const auto plan = layer.plan(t.work().ctx(), saved);
      const auto& chosen = std::get<plan_type>(plan.of);
      for (index i = 0; i < n; ++i) right += chosen.expert_of[i * chosen.k] == meant[static_cast<std::size_t>(i)];
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
                               [&](auto& told, auto&) { set_experts(told, run.targets()); });
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

template <class T, class B>
result run_arm(routing how, const std::string& name, const settings& s, const options& o, std::uint64_t seed,
               const images& data) {
  using mlp_type = experiment::dense_mlp<T, B>;
  nn::vit_sizes z = o.sizes(data);
  z.class_token = o.class_token();
  polymoe::train_options t = experiment::adamw_recipe(s, seed);
  if (how == routing::dense)
    return train<nn::vit<mlp_type>>(name, nn::vit_config<mlp_type>(z), t, s, seed, data, {});
  const layer_sizes sizes{z.dim, z.mlp_hidden(), z.heads, z.tokens(), o.experts, o.moe_blocks, z.depth - o.moe_blocks};
  if (how == routing::learned_token || how == routing::dense_twin) {
    using moe_type = experiment::moe<T, B>;
    const auto where = nn::placement::last(o.moe_blocks, z.depth);
    const typename layer<T, B>::config blocks =
        how == routing::dense_twin ? wide_layer<T, B>(sizes, o.k) : token_layer<T, B>(sizes, o.k);
    const auto config = nn::mixed_vit_config<mlp_type, moe_type>(z, blocks, where);
    return train<nn::mixed_vit<mlp_type, moe_type>>(name, config, t, s, seed, data, {});
  }
  const bool oracle = how == routing::oracle;
  result extra;
  if (how != routing::learned_image) {
    t.expert_of_class = clusters_of(oracle ? routing::super_class : how, s, o, seed, data, extra);
    for (const int e : t.expert_of_class) extra.lists["expert_of_class"].push_back(e);
  }
  typename dense_blocks<T, B>::config front;
  front.block = nn::vit_block_config<mlp_type>(z), front.count = sizes.first;
  using polymoe::unit::class_token, polymoe::unit::mean;
  const typename layer<T, B>::config back = oracle ? oracle_blocks<T, B>(sizes)
                                            : o.class_token()
                                                ? image_blocks<T, B, class_token>(how, sizes, o.k, o.lambda)
                                                : image_blocks<T, B, mean>(how, sizes, o.k, o.lambda);
  const typename blocks<T, B>::config all{{front, back}};
  return train<nn::vit_of<blocks<T, B>, T, B>>(name, nn::vit_of_config<blocks<T, B>, T, B>(z, all), t, s, seed, data,
                                               extra, oracle);
}

}  // namespace

}  // namespace paper_d
