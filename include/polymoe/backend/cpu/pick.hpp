// Experts picking units, on the CPU: one selection per expert and group, then the plan's inverse as lists.
//
// A run holds its units by rising index, so that gathering reads forward.
#pragma once

#include "../../core/block.hpp"
#include "../../plan/invert.hpp"
#include "../../router/order_key.hpp"
#include "parallel.hpp"

namespace polymoe::inline v0 {

/// f(j, slot, expert) for the slots of unit t of a plan with lists, by rising expert.
template <class C, class F>
void for_each_pick(const sparse_plan<C>& p, index t, F f) {
  int e = 0;
  for (int i = p.slots_begin[t]; i < p.slots_begin[t + 1]; ++i) {
    const int slot = p.slot_of[i];
    while (slot >= p.begin[e + 1]) ++e;
    f(i - p.slots_begin[t], slot, e);
  }
}

/// Whether a score is above its expert's threshold, or above 0 where there are none.
template <class C>
bool is_above(const view<C>& scores, index t, index e, const float* threshold) {
  using R = decltype(value_of(C(0)));
  return value_of(scores.get(t, e)) > (threshold ? static_cast<R>(threshold[e]) : R(0));
}

/// Every expert takes the p.capacity largest of its column of `scores` [T, E] in every group, units that are not finite
/// left out, and with PositiveOnly those whose score is not above zero, or above `threshold` [E] of the expert.  Fills
/// p.count, p.begin, p.run_begin, p.token, p.slots_begin and p.slot_of.
template <bool PositiveOnly = false, class C, class Stream>
void pick(const Stream& stream, sparse_plan<C>& p, const view<C>& scores, const float* threshold = nullptr) {
  const int G = p.groups, E = p.experts;
  parallel_for(stream, G, [&](index g, worker&) {
    const int t0 = static_cast<int>(g) * p.group_size, t1 = std::min(p.tokens, t0 + p.group_size);
    if constexpr (PositiveOnly) {
      for (int e = 0; e < E; ++e) p.count[e * G + g] = 0;
      for (int t = t0; t < t1; ++t)
        for (int e = 0; e < E && !p.bad[t]; ++e) p.count[e * G + g] += is_above(scores, t, e, threshold);
      for (int e = 0; e < E; ++e) p.count[e * G + g] = std::min(p.count[e * G + g], p.capacity);
    } else {
      int present = 0;
      for (int t = t0; t < t1; ++t) present += !p.bad[t];
      for (int e = 0; e < E; ++e) p.count[e * G + g] = std::min(present, p.capacity);
    }
  });
  int running = 0;
  for (int e = 0; e < E; ++e) {
    p.begin[e] = running;
    for (int g = 0; g < G; ++g) {
      p.run_begin[e * G + g] = running;
      running += p.layout == plan_layout::padded ? p.capacity : p.count[e * G + g];
    }
  }
  p.begin[E] = running;
  parallel_for(stream, index{E} * G, [&](index run, worker&) {
    const int e = static_cast<int>(run / G), g = static_cast<int>(run % G);
    const int t0 = g * p.group_size, n = std::min(p.tokens - t0, p.group_size);
    int* unit = p.token + p.run_begin[run];
    using R = decltype(value_of(C(0)));
    using U = decltype(descending_key(R(0)));
    int bins[phase::select_bins];
    phase::select_first(
        scalar_block{}, n, p.count[run], bins,
        [&](int i) { return p.bad[t0 + i] ? ~U(0) : descending_key(value_of(scores.get(t0 + i, e))); },
        [&](int i, int position) { unit[position] = t0 + i; });
    if (p.layout == plan_layout::padded) std::fill(unit + p.count[run], unit + p.capacity, -1);
  });
  p = inverted(p, p.slots_begin, p.slot_of, p.max_slots);
}

}  // namespace polymoe
