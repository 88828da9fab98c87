// How experts are used: evenly or not, which of them together, which for which class.  From counts that plans gave
// (layer_telemetry::load, routing_choices::together, train_summary::class_expert).
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0::analysis {

namespace detail {
inline double entropy_of(std::span<const double> weights) {
  double sum = 0, h = 0;
  for (const double w : weights) sum += w;
  for (const double w : weights)
    if (w > 0) h -= w / sum * std::log(w / sum);
  return h;
}
}  // namespace detail

struct utilisation {
  std::vector<double> share;  ///< [E] of the load; 0 without load
  double effective = 0;       ///< exp of the shares' entropy: so many experts with equal loads are as uneven
  int unused = 0;             ///< experts without load
};

inline utilisation utilisation_of(std::span<const double> load) {
  utilisation u;
  double sum = 0;
  for (const double x : load) {
    require(x >= 0, "utilisation_of: a load of ", x);
    sum += x, u.unused += x <= 0;
  }
  for (const double x : load) u.share.push_back(sum > 0 ? x / sum : 0);
  u.effective = sum > 0 ? std::exp(detail::entropy_of(load)) : 0;
  return u;
}

struct coactivation {
  std::vector<double> expected;  ///< [E, E] pairs if experts met independently; diagonal 0
  std::vector<double> lift;      ///< [E, E] what is over what is expected; NaN where nothing is expected
  double pairs = 0;              ///< pairs of experts that served a unit together, over all units
  double distance = 0;           ///< share of the pairs that would have to be others for all lifts to be 1
};

/// `together` [E, E], symmetric: units that both experts serve; the diagonal is not used.  Independence means that an
/// expert's partners are met as often as they meet others at all: expected(a, b) = w_a w_b for a != b, with weights
/// such that every expert is in as many pairs as it is (quasi-independence; Goodman 1968).  The product of the two
/// experts' shares of units is not that: experts of one unit differ, so it promises E (K - 1) / (K (E - 1)) of what
/// chance gives.
inline coactivation coactivation_of(std::span<const double> together, int experts) {
  const auto E = static_cast<std::size_t>(experts);
  require(experts >= 2 && together.size() == E * E, "coactivation_of: ", together.size(), " counts for ", experts,
          " experts");
  coactivation c;
  c.expected.assign(E * E, 0.0), c.lift.assign(E * E, std::nan(""));
  std::vector<double> row(E, 0.0), w(E, 0.0);
  for (std::size_t a = 0; a < E; ++a)
    for (std::size_t b = 0; b < E; ++b)
      if (a != b) {
        require(together[a * E + b] >= 0 && together[a * E + b] == together[b * E + a], "coactivation_of: experts ", a,
                " and ", b, " have ", together[a * E + b], " and ", together[b * E + a], " units together");
        row[a] += together[a * E + b], c.pairs += together[a * E + b] / 2;
      }
  if (c.pairs == 0) return c;
  // Symmetric scaling; the root keeps it from swinging between two experts.
  for (std::size_t a = 0; a < E; ++a) w[a] = std::sqrt(row[a]);
  for (int round = 0; round < 20000; ++round) {
    double sum = 0, worst = 0;
    for (const double x : w) sum += x;
    std::vector<double> next(w);
    for (std::size_t a = 0; a < E; ++a) {
      const double now = w[a] * (sum - w[a]);
      if (row[a] <= 0 || now <= 0) continue;
      worst = std::max(worst, std::abs(now - row[a]) / row[a]);
      next[a] = w[a] * std::sqrt(row[a] / now);
    }
    if (worst < 1e-13) break;
    w = next;
  }
  for (std::size_t a = 0; a < E; ++a)
    for (std::size_t b = 0; b < E; ++b)
      if (a != b) {
        const double want = w[a] * w[b], have = together[a * E + b];
        c.expected[a * E + b] = want;
        if (want > 0) c.lift[a * E + b] = have / want;
        c.distance += std::abs(have - want) / (4 * c.pairs);  // both triangles, and half the sum of differences
      }
  return c;
}

struct specialisation {
  double information = 0;  ///< mutual information of class and expert, nats
  double normalised = 0;   ///< the same over the mean of both entropies: 0 independent, 1 one tells the other
  /// What `normalised` is in the mean for experts that know nothing of classes: (classes - 1) (experts - 1) / (2 n)
  /// nats (Miller 1955), at most 1.
  double chance = 0;
  std::vector<double> classes_of_expert;  ///< [E] entropy of the classes an expert serves, nats; NaN for an unused one
  std::vector<double> experts_of_class;   ///< [classes] entropy of the experts that serve a class, likewise
};

/// `counts` [classes, E]: how much of a class each expert serves.  `n`: independent examples behind them: images, as
/// the tokens of one image share its class.
inline specialisation specialisation_of(std::span<const double> counts, int classes, int experts, index n) {
  const auto K = static_cast<std::size_t>(classes), E = static_cast<std::size_t>(experts);
  require(classes >= 1 && experts >= 1 && counts.size() == K * E && n >= 1, "specialisation_of: ", counts.size(),
          " counts for ", classes, " classes and ", experts, " experts, ", n, " examples");
  specialisation s;
  std::vector<double> of_class(K, 0.0), of_expert(E, 0.0), column(K);
  for (std::size_t k = 0; k < K; ++k)
    for (std::size_t e = 0; e < E; ++e) {
      require(counts[k * E + e] >= 0, "specialisation_of: a count of ", counts[k * E + e]);
      of_class[k] += counts[k * E + e], of_expert[e] += counts[k * E + e];
    }
  for (std::size_t k = 0; k < K; ++k)
    s.experts_of_class.push_back(of_class[k] > 0 ? detail::entropy_of(counts.subspan(k * E, E)) : std::nan(""));
  for (std::size_t e = 0; e < E; ++e) {
    for (std::size_t k = 0; k < K; ++k) column[k] = counts[k * E + e];
    s.classes_of_expert.push_back(of_expert[e] > 0 ? detail::entropy_of(column) : std::nan(""));
  }
  const double by_class = detail::entropy_of(of_class), by_expert = detail::entropy_of(of_expert);
  const double mean = (by_class + by_expert) / 2;
  if (mean <= 0) return s;
  s.information = std::max(0.0, by_class + by_expert - detail::entropy_of(counts));
  s.normalised = s.information / mean;
  double seen = -1, used = -1;
  for (const double x : of_class) seen += x > 0;
  for (const double x : of_expert) used += x > 0;
  s.chance = std::min(1.0, seen * used / (2 * static_cast<double>(n)) / mean);
  return s;
}

}  // namespace polymoe::analysis
