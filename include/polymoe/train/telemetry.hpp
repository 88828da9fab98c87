// What the Mixture-of-Experts layers of a model did, gathered over many calls: the numbers that logs and reports show.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "../layer/stats.hpp"
#include "../plan/served.hpp"

namespace polymoe::inline v0 {

/// Sums over calls of one layer's routing_stats; `mean_*` divide.
struct layer_telemetry {
  index calls = 0, units = 0, choices = 0, placed = 0, overflow = 0, bad_rows = 0;
  double entropy = 0, margin = 0;         ///< sums over finite units, so that a short last batch counts as it should
  double load_cv = 0, max_over_mean = 0;  ///< sums over calls
  std::vector<double> load;               ///< [E] wishes (gate mass for mixtures)

  void add(const routing_stats& s) {
    ++calls;
    units += s.units, choices += s.choices, placed += s.placed, overflow += s.overflow, bad_rows += s.bad_rows;
    const double finite = static_cast<double>(s.units - s.bad_rows);
    entropy += finite * s.entropy, margin += finite * s.margin;
    load_cv += s.load_cv(), max_over_mean += s.load_max_over_mean();
    load.resize(static_cast<std::size_t>(s.experts), 0.0);
    for (int e = 0; e < s.experts; ++e) load[static_cast<std::size_t>(e)] += s.load(e);
  }
  void add(const layer_telemetry& o) {
    calls += o.calls, units += o.units, choices += o.choices, placed += o.placed, overflow += o.overflow;
    bad_rows += o.bad_rows, entropy += o.entropy, margin += o.margin;
    load_cv += o.load_cv, max_over_mean += o.max_over_mean;
    load.resize(o.load.size(), 0.0);
    for (std::size_t e = 0; e < load.size(); ++e) load[e] += o.load[e];
  }
  double drop_rate() const {
    return choices ? static_cast<double>(choices - placed - overflow) / static_cast<double>(choices) : 0.0;
  }
  index finite_units() const { return units - bad_rows; }
  double mean_entropy() const { return finite_units() > 0 ? entropy / static_cast<double>(finite_units()) : 0.0; }
  double mean_margin() const { return finite_units() > 0 ? margin / static_cast<double>(finite_units()) : 0.0; }
  double mean_load_cv() const { return calls ? load_cv / static_cast<double>(calls) : 0.0; }
  double mean_max_over_mean() const { return calls ? max_over_mean / static_cast<double>(calls) : 0.0; }
  /// Coefficient of variation of the load summed over all calls.
  double total_load_cv() const {
    double mean = 0, var = 0;
    for (const double x : load) mean += x / static_cast<double>(load.size());
    if (mean <= 0) return 0;
    for (const double x : load) var += (x - mean) * (x - mean) / static_cast<double>(load.size());
    return std::sqrt(var) / mean;
  }
  int dead_experts() const {
    int n = 0;
    for (const double x : load) n += x <= 0;
    return n;
  }
};

/// All layers of a model together, as the tables show them: drop rate over all choices, the rest as a mean of layers.
struct model_telemetry {
  std::vector<layer_telemetry> layers;

  bool any() const { return !layers.empty(); }
  double drop_rate() const {
    index choices = 0, served = 0;
    for (const auto& l : layers) choices += l.choices, served += l.placed + l.overflow;
    return choices ? static_cast<double>(choices - served) / static_cast<double>(choices) : 0.0;
  }
  double entropy() const { return mean(&layer_telemetry::mean_entropy); }
  double margin() const { return mean(&layer_telemetry::mean_margin); }
  double load_cv() const { return mean(&layer_telemetry::total_load_cv); }
  double max_over_mean() const { return mean(&layer_telemetry::mean_max_over_mean); }
  int dead_experts() const {
    int n = 0;
    for (const auto& l : layers) n += l.dead_experts();
    return n;
  }
  /// A router that has collapsed, in one line for a person: layers with experts that nobody wanted in all these calls
  /// (an epoch's, say), or whose load has a standard deviation of more than `most_cv` times its mean.  Empty when all
  /// is well.
  std::string load_alarm(double most_cv = 2) const {
    std::string text;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const layer_telemetry& l = layers[i];
      const int dead = l.dead_experts();
      const double cv = l.total_load_cv();
      if (l.finite_units() < 1 || (dead == 0 && !(cv > most_cv))) continue;
      text += text.empty() ? "load alarm: " : "; ";
      text += "layer " + std::to_string(i) + ", ";
      if (dead > 0)
        text += std::to_string(dead) + " of " + std::to_string(l.load.size()) + " experts chosen by nobody, ";
      char number[32];
      std::snprintf(number, sizeof number, "load CV %.2f", cv);
      text += number;
    }
    return text;
  }

 private:
  double mean(double (layer_telemetry::*f)() const) const {
    double s = 0;
    for (const auto& l : layers) s += (l.*f)();
    return layers.empty() ? 0.0 : s / static_cast<double>(layers.size());
  }
};

/// Adds, for each unit's served choices, one count to [class of its image, expert]; where experts are mixed, what the
/// unit takes from each.  `counts` is [classes, E].
template <class Plan>
void count_class_expert(const Plan& p, const std::int32_t* labels, index images, std::vector<double>& counts) {
  if (images == 0 || p.tokens == 0) return;
  const index per_image = p.tokens / images;
  const bool mixed = mixes_experts(p);
  for (int t = 0; t < p.tokens; ++t) {
    const auto row = static_cast<std::size_t>(labels[t / per_image]) * static_cast<std::size_t>(p.experts);
    each_served(p, t, [&](int e, double weight) { counts[row + static_cast<std::size_t>(e)] += mixed ? weight : 1; });
  }
}

}  // namespace polymoe
