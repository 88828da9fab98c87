// How much the slots of Soft MoE have in common, over a pass of the data: extremes and means of the weights, and how
// alike slots are that read, units that take, and the slots' parameters.
//
//   slot_similarity now;
//   trainer.evaluate([&](index, index) { now.add(layer.plan(ctx, saved)); });
//   now.dispatch_cosine();   // 1: all slots of an image read the same mixture
//   mean_cosine(phi);        // phi [E slots, D], the parameter router.phi
//
// Source: paper C's code (Soft MoE), which logs these for every layer.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../plan/dense_plan.hpp"

namespace polymoe::inline v0::analysis {

/// Of the weights of a matrix, over all groups.
struct weight_range {
  double least = 0, most = 0, mean = 0;
};

namespace detail {

/// Mean cosine over the pairs of some vectors, without the pairs: with unit vectors u of which there are n,
/// |sum u|^2 = n + the sum over ordered pairs.  A vector of length 0 has no direction and is left out.
class pair_cosines {
 public:
  explicit pair_cosines(index length) : sum_(static_cast<std::size_t>(length), 0.0) {}
  /// at(i): number i of a vector.
  template <class At>
  void add(At at) {
    const auto n = static_cast<index>(sum_.size());
    double square = 0;
    for (index i = 0; i < n; ++i) square += at(i) * at(i);
    if (square == 0) return;
    for (index i = 0; i < n; ++i) sum_[static_cast<std::size_t>(i)] += at(i) / std::sqrt(square);
    ++vectors_;
  }
  /// Ordered pairs, and the sum of their cosines.
  double pairs() const { return vectors_ * (vectors_ - 1); }
  double sum() const {
    double square = 0;
    for (const double s : sum_) square += s * s;
    return square - vectors_;
  }

 private:
  std::vector<double> sum_;
  double vectors_ = 0;
};

}  // namespace detail

/// Mean cosine over the pairs of rows of v; rows of zeros have no direction and are left out.  NaN with fewer than two.
template <class T>
double mean_cosine(view<T> v) {
  detail::pair_cosines rows(v.cols);
  for (index r = 0; r < v.rows; ++r) rows.add([&](index i) { return static_cast<double>(value_of(v.get(r, i))); });
  return rows.sum() / rows.pairs();
}

class slot_similarity {
 public:
  /// Adds the groups of a call.  Units that are not finite take part in nothing and are left out.
  template <class C>
  void add(const dense_plan<C>& p) {
    const index S = p.group_slots();
    for (index first = 0; first < p.tokens; first += p.group_size) {
      const index end = std::min<index>(p.tokens, first + p.group_size);
      const auto dispatched = [&](index t, index s) { return static_cast<double>(value_of(p.dispatch.get(t, s))); };
      const auto combined = [&](index t, index s) { return static_cast<double>(value_of(p.combine.get(t, s))); };
      detail::pair_cosines units(S), slots(end - first);
      for (index t = first; t < end; ++t) {
        if (p.bad && p.bad[t]) continue;
        for (index s = 0; s < S; ++s) dispatch_.add(dispatched(t, s)), combine_.add(combined(t, s));
        units.add([&](index s) { return combined(t, s); });
      }
      for (index s = 0; s < S; ++s) slots.add([&](index t) { return dispatched(first + t, s); });
      dispatch_.pairs += slots.pairs(), dispatch_.cosines += slots.sum();
      combine_.pairs += units.pairs(), combine_.cosines += units.sum();
    }
  }
  /// Of dispatch weights (over the units of a group they sum to 1 for every slot).
  weight_range dispatch() const { return dispatch_.range(); }
  /// Of combine weights (over the slots they sum to 1 for every unit).
  weight_range combine() const { return combine_.range(); }
  /// Mean cosine over pairs of slots of a group, of their columns of the dispatch matrix; NaN without pairs.
  double dispatch_cosine() const { return dispatch_.cosines / dispatch_.pairs; }
  /// Mean cosine over pairs of units of a group, of their rows of the combine matrix; NaN without pairs.
  double combine_cosine() const { return combine_.cosines / combine_.pairs; }

 private:
  struct matrix_sums {
    double least = std::numeric_limits<double>::infinity(), most = -std::numeric_limits<double>::infinity();
    double sum = 0, weights = 0, cosines = 0, pairs = 0;
    void add(double w) { least = std::min(least, w), most = std::max(most, w), sum += w, ++weights; }
    weight_range range() const {
      require(weights > 0, "slot_similarity: there are no weights");
      return {least, most, sum / weights};
    }
  };
  matrix_sums dispatch_, combine_;
};

}  // namespace polymoe::analysis
