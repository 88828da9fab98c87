// What experts served, as figures; and kept between epochs.
#include "choices.hpp"

#include <cmath>

#include <polymoe/analysis/expert_use.hpp>
#include <polymoe/train/safetensors.hpp>

namespace experiment {
namespace {

namespace analysis = polymoe::analysis;

/// Mean of f(layer) over layers where it is finite; NaN when it is nowhere.
template <class F>
double mean_over(std::size_t layers, F f) {
  double sum = 0, n = 0;
  for (std::size_t l = 0; l < layers; ++l)
    if (const double x = f(l); std::isfinite(x)) sum += x, ++n;
  return n > 0 ? sum / n : std::nan("");
}
analysis::specialisation of_layer(const polymoe::train_summary& s, std::size_t l) {
  const std::vector<double>& counts = s.class_expert[l];
  const auto experts = s.experts.layers[l].load.size();
  return analysis::specialisation_of(counts, static_cast<int>(counts.size() / experts), static_cast<int>(experts),
                                     s.images);
}
/// Not for dense arms that are layers of one expert.
bool routed(const layer_choices& choices) { return !choices.empty() && choices.back().experts() > 1; }
void set(result& r, const char* figure, double x) {
  if (std::isfinite(x)) r.figures[figure] = x;
}

}  // namespace

void add_epoch(result& r, const polymoe::train_summary& validation, const layer_choices& before,
               const layer_choices& now) {
  if (!routed(now)) return;
  const auto switched = [&](double analysis::switching::*share) {
    if (before.size() != now.size()) return std::nan("");
    return mean_over(now.size(), [&](std::size_t l) { return analysis::switching_between(before[l], now[l]).*share; });
  };
  r.lists["switched_first"].push_back(switched(&analysis::switching::first));
  r.lists["switched_set"].push_back(switched(&analysis::switching::set));
  r.lists["class_information"].push_back(
      mean_over(now.size(), [&](std::size_t l) { return of_layer(validation, l).normalised; }));
}

void add_use(result& r, const polymoe::train_summary& test, const layer_choices& choices) {
  const std::size_t layers = choices.size();
  if (!routed(choices)) return;
  for (const char* curve : {"switched_first", "switched_set"})
    if (const auto it = r.lists.find(curve); it != r.lists.end() && !it->second.empty())
      set(r, curve, it->second.back());
  set(r, "class_information", mean_over(layers, [&](std::size_t l) { return of_layer(test, l).normalised; }));
  set(r, "class_information_chance", mean_over(layers, [&](std::size_t l) { return of_layer(test, l).chance; }));
  set(r, "effective_experts", mean_over(layers, [&](std::size_t l) {
        return analysis::utilisation_of(test.experts.layers[l].load).effective;
      }));
  const analysis::specialisation last = of_layer(test, layers - 1);
  r.lists["classes_of_expert"] = last.classes_of_expert, r.lists["experts_of_class"] = last.experts_of_class;
  // Who serves together says nothing where every unit meets every expert, or has one.
  set(r, "coactivation_distance", mean_over(layers, [&](std::size_t l) {
        if (choices[l].mixture() || choices[l].experts() < 2) return std::nan("");
        const auto c = analysis::coactivation_of(choices[l].together(), choices[l].experts());
        return c.pairs > 0 ? c.distance : std::nan("");
      }));
  if (choices.back().mixture()) return;
  r.lists["together"] = choices.back().together();
  for (const index n : choices.back().units_by_experts()) r.lists["experts_of_unit"].push_back(static_cast<double>(n));
}

void write_choices(const std::string& path, const layer_choices& all) {
  std::vector<polymoe::tensor_ref> tensors;
  std::vector<std::int32_t> about;  // experts and mixture of each layer
  for (const auto& c : all) about.push_back(c.experts()), about.push_back(c.mixture());
  tensors.push_back(polymoe::make_tensor("layers", {static_cast<index>(all.size()), 2}, about.data()));
  for (std::size_t l = 0; l < all.size(); ++l) {
    const std::string name = std::to_string(l);
    tensors.push_back(polymoe::make_tensor("first." + name, {all[l].units()}, all[l].first_experts().data()));
    tensors.push_back(
        polymoe::make_tensor("sets." + name, {static_cast<index>(all[l].sets().size())}, all[l].sets().data()));
  }
  polymoe::write_safetensors(path, tensors, {});
}

layer_choices read_choices(const std::string& path) {
  const polymoe::safetensors_file file(path);
  std::vector<std::int32_t> about(static_cast<std::size_t>(file.at("layers").elements()));
  file.copy_to("layers", std::span<std::int32_t>(about));
  layer_choices all;
  for (std::size_t l = 0; 2 * l + 1 < about.size(); ++l) {
    const std::string name = std::to_string(l);
    std::vector<std::int32_t> first(static_cast<std::size_t>(file.at("first." + name).elements()));
    std::vector<std::uint64_t> sets(static_cast<std::size_t>(file.at("sets." + name).elements()));
    file.copy_to("first." + name, std::span<std::int32_t>(first));
    file.copy_to("sets." + name, std::span<std::uint64_t>(sets));
    all.push_back(
        analysis::routing_choices::from(about[2 * l], about[2 * l + 1] != 0, std::move(first), std::move(sets)));
  }
  return all;
}

}  // namespace experiment
