// row<Lanes, Tier, Scalar>: one number per expert for one routed unit, spread over the lanes of a group.
//
// This is all a router policy sees: map, zip, sum, max, index_of, at.  `Tier` bounds the number of experts at compile
// time, `n` is how many there are.  Elements beyond n are never read or written by policies.  A `Full` row has exactly
// Tier experts, so that its loops have a length the compiler knows.
// Functions given to a row are called for its elements in any order, several at a time: they have no side effects.
#pragma once

#include "lanes.hpp"
#include "math.hpp"

namespace polymoe::inline v0 {

/// [n] numbers, n <= Tier, one for each expert.
template <class Lanes, int Tier, class Scalar, bool Full = false>
struct row {
  using lanes = Lanes;
  using scalar = Scalar;
  static constexpr int tier = Tier;
  static constexpr bool full = Full;
  static constexpr int per_lane = (Tier + Lanes::width - 1) / Lanes::width;

  Lanes g;
  int n;               ///< experts present, at most Tier
  Scalar v[per_lane];  ///< this lane's experts: lane, lane + width, lane + 2 width, ...

  /// Number of this lane's elements that can be present.
  POLYMOE_HD int local() const {
    if constexpr (Lanes::width == 1)
      return Full ? Tier : n;
    else
      return per_lane;
  }
  POLYMOE_HD int expert(int i) const { return i * Lanes::width + g.lane(); }
  POLYMOE_HD bool present(int i) const {
    if constexpr (Lanes::width == 1)
      return true;
    else
      return expert(i) < n;
  }

  /// A row of the same experts with every element f(expert).
  template <class F>
  POLYMOE_HD row like(F f) const {
    row out;
    out.g = g, out.n = n;
    POLYMOE_SIMD
    for (int i = 0; i < local(); ++i)
      if (present(i)) out.v[i] = f(expert(i));
    return out;
  }
  POLYMOE_HD row filled(Scalar x) const {
    return like([=](int) { return x; });
  }
  /// f(element, expert) for every expert.
  template <class F>
  POLYMOE_HD row map(F f) const {
    row out;
    out.g = g, out.n = n;
    POLYMOE_SIMD
    for (int i = 0; i < local(); ++i)
      if (present(i)) out.v[i] = f(v[i], expert(i));
    return out;
  }
  /// f(element, other's element, expert) for every expert.
  template <class F>
  POLYMOE_HD row zip(const row& o, F f) const {
    row out;
    out.g = g, out.n = n;
    POLYMOE_SIMD
    for (int i = 0; i < local(); ++i)
      if (present(i)) out.v[i] = f(v[i], o.v[i], expert(i));
    return out;
  }
  POLYMOE_HD void add(const row& o) {
    POLYMOE_SIMD
    for (int i = 0; i < local(); ++i)
      if (present(i)) v[i] += o.v[i];
  }
  POLYMOE_HD void add_scaled(Scalar a, const row& o) {
    POLYMOE_SIMD
    for (int i = 0; i < local(); ++i)
      if (present(i)) v[i] += a * o.v[i];
  }
  /// Adds x to expert e's element.
  POLYMOE_HD void add_at(int e, Scalar x) {
    if constexpr (Lanes::width == 1) {
      v[e] += x;
    } else {
      for (int i = 0; i < per_lane; ++i)
        if (expert(i) == e) v[i] += x;
    }
  }

  /// Sum over experts of f(element, expert).
  template <class F>
  POLYMOE_HD Scalar sum(F f) const {
    Scalar s(0);
    if constexpr (is_dual<Scalar>) {
      for (int i = 0; i < local(); ++i)
        if (present(i)) s += f(v[i], expert(i));
    } else {
      POLYMOE_SIMD_SUM(s)
      for (int i = 0; i < local(); ++i)
        if (present(i)) s += f(v[i], expert(i));
    }
    return g.sum(s);
  }
  POLYMOE_HD Scalar sum() const {
    return sum([](Scalar x, int) { return x; });
  }
  /// Largest element (of the value part for dual numbers); -infinity in an empty row.
  POLYMOE_HD Scalar max() const {
    Scalar m(-__builtin_inff());
    if constexpr (is_dual<Scalar>) {
      for (int i = 0; i < local(); ++i)
        if (present(i)) m = v[i] > m ? v[i] : m;
    } else {
      POLYMOE_SIMD_MAX(m)
      for (int i = 0; i < local(); ++i)
        if (present(i)) m = v[i] > m ? v[i] : m;
    }
    return g.max(m);
  }
  /// Lowest expert whose element equals m in value: ties go to the lower index on every backend.  n when there is none.
  POLYMOE_HD int index_of(Scalar m) const {
    int e = n;
    POLYMOE_SIMD_MIN(e)
    for (int i = 0; i < local(); ++i)
      if (present(i)) e = value_of(v[i]) == value_of(m) && expert(i) < e ? expert(i) : e;
    return g.min(e);
  }
  /// Expert e's element, on every lane.
  POLYMOE_HD Scalar at(int e) const {
    if constexpr (Lanes::width == 1) {
      return v[e];
    } else {
      Scalar s(0);
      for (int i = 0; i < per_lane; ++i)
        if (expert(i) == e) s = v[i];
      return g.sum(s);
    }
  }
  /// False when any element is infinite or NaN.
  POLYMOE_HD bool finite() const {
    int bad = 0;
    POLYMOE_SIMD_SUM(bad)
    for (int i = 0; i < local(); ++i)
      if (present(i)) bad += math::is_finite(v[i]) ? 0 : 1;
    return !g.any(bad != 0);
  }
};

/// The experts a unit chose, best first; the same on every lane.  `n` may be below K only where there are fewer
/// experts.
template <int K>
struct choice {
  int expert[K];
  int n = K;
  POLYMOE_HD bool contains(int e) const {
    for (int j = 0; j < n; ++j)
      if (expert[j] == e) return true;
    return false;
  }
};

/// The K largest elements: larger value first, lower index first among equals.
template <int K, class Row>
POLYMOE_HD choice<K> largest(const Row& scores) {
  choice<K> c;
  c.n = K < scores.n ? K : scores.n;
  if constexpr (Row::lanes::width == 1 && !(Row::full && K <= 4)) {
    // One thread: an insertion into a sorted list of K; strict comparison keeps the lower index among equals.
    typename Row::scalar best[K] = {};
    int held = 0;
    for (int e = 0; e < scores.n; ++e) {
      const auto x = scores.v[e];
      if (held == K && !(x > best[K - 1])) continue;
      int j = held < K ? held++ : K - 1;
      for (; j > 0 && x > best[j - 1]; --j) best[j] = best[j - 1], c.expert[j] = c.expert[j - 1];
      best[j] = x, c.expert[j] = e;
    }
  } else {
    Row left = scores;
    for (int j = 0; j < c.n; ++j) {
      const int e = left.index_of(left.max());
      c.expert[j] = e;
      // Taken elements become -infinity; finite scores never equal it, so no expert is taken twice.
      left =
          left.map([=](typename Row::scalar x, int i) { return i == e ? typename Row::scalar(-__builtin_inff()) : x; });
    }
  }
  return c;
}

}  // namespace polymoe
