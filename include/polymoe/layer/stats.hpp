// routing_stats: what one routing call did, measured from the plan itself (never computed from settings).
#pragma once

#include <cmath>

#include "../core/config.hpp"

namespace polymoe::inline v0 {

/// Counts and sums of one call; arrays live in the backend's memory.
struct routing_stats {
  int experts = 0;
  index units = 0;                 ///< T
  index choices = 0;               ///< wishes made: finite units times K (or E)
  index placed = 0;                ///< wishes served by a scored expert, also after rerouting
  index moved = 0;                 ///< of these, by another expert than the first wish (reroute)
  index overflow = 0;              ///< wishes served by the fallback expert or by the unit itself
  index bad_rows = 0;              ///< units whose router row was not finite
  index unpicked = 0;              ///< finite units without an expert, where experts pick units; else 0
  int least_experts = 0;           ///< of one finite unit, where experts pick units; else 0
  int most_experts = 0;            ///< likewise
  double entropy = 0;              ///< mean over finite units of the entropy of the normalised scores, nats
  double margin = 0;               ///< mean over finite units of best minus second score
  double* gate_mass = nullptr;     ///< [E] sum of scores
  index* wished = nullptr;         ///< [E] wishes per expert, before capacity
  index* served = nullptr;         ///< [E] places per expert, after capacity

  /// Share of wishes that nobody served, 0 when there were none.
  double drop_rate() const {
    return choices ? static_cast<double>(choices - placed - overflow) / static_cast<double>(choices) : 0.0;
  }
  /// Share of finite units without an expert, where experts pick units; 0 for other routers, see drop_rate().
  double unpicked_rate() const {
    return units > bad_rows ? static_cast<double>(unpicked) / static_cast<double>(units - bad_rows) : 0.0;
  }
  /// Mean number of experts that serve a finite unit.
  double experts_per_unit() const {
    return units > bad_rows ? static_cast<double>(placed) / static_cast<double>(units - bad_rows) : 0.0;
  }
  /// Coefficient of variation (population) of the wishes per expert; of the gate mass for mixtures.
  double load_cv() const {
    double mean = 0, var = 0;
    for (int e = 0; e < experts; ++e) mean += load(e) / experts;
    if (mean <= 0) return 0;
    for (int e = 0; e < experts; ++e) var += (load(e) - mean) * (load(e) - mean) / experts;
    return std::sqrt(var) / mean;
  }
  /// Largest over mean load.
  double load_max_over_mean() const {
    double sum = 0, most = 0;
    for (int e = 0; e < experts; ++e) sum += load(e), most = load(e) > most ? load(e) : most;
    return sum > 0 ? most * experts / sum : 0;
  }
  /// Experts nobody wished for.
  int dead_experts() const {
    int n = 0;
    for (int e = 0; e < experts; ++e) n += load(e) <= 0;
    return n;
  }
  double load(int e) const { return mixture ? gate_mass[e] : static_cast<double>(wished[e]); }

  bool mixture = false;            ///< every unit uses every expert: load is gate mass
};

}  // namespace polymoe
