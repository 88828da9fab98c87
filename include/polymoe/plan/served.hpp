// Who serves a unit: the same question to every kind of plan.
#pragma once

#include "dense_plan.hpp"

namespace polymoe::inline v0 {

/// Whether every unit meets every expert, so that weights and not places say which expert counts.
template <class C>
bool mixes_experts(const sparse_plan<C>& p) {
  return p.layout == plan_layout::identity;
}
template <class C>
bool mixes_experts(const dense_plan<C>&) {
  return true;
}

/// Calls f(expert, weight) for every expert that serves unit t: in the order of the unit's choices where it chose, in
/// the order of experts otherwise.  The fallback expert, the unit itself, and dropped choices are not among them; a
/// unit whose router row was not finite has none.
template <class C, class F>
void each_served(const sparse_plan<C>& p, int t, F f) {
  if (p.bad && p.bad[t]) return;
  const auto weight = [&p](int slot) { return static_cast<double>(value_of(p.gate.get(0, slot))); };
  if (p.layout == plan_layout::identity) {
    for (int e = 0; e < p.experts; ++e) f(e, weight(p.slot_at(t, e)));
  } else if (p.slots_begin) {
    int e = 0;  // the slots of a unit ascend, and so do their experts
    for (int j = 0; j < p.choices(t); ++j) {
      const int slot = p.slot_at(t, j);
      while (slot >= p.begin[e + 1]) ++e;
      f(e, weight(slot));
    }
  } else {
    for (int j = 0; j < p.k; ++j) {
      const int e = p.expert_of[t * p.k + j], slot = p.slot_at(t, j);
      // With a fallback expert the choice keeps its expert, whose score weighs it, and has a slot of the fallback.
      if (e >= 0 && slot >= p.begin[e] && slot < p.begin[e + 1]) f(e, weight(slot));
    }
  }
}
/// Of a plan of slots: an expert's weight is what the unit takes from all its slots.
template <class C, class F>
void each_served(const dense_plan<C>& p, int t, F f) {
  if (p.bad && p.bad[t]) return;
  for (int e = 0; e < p.experts; ++e) {
    double weight = 0;
    for (int s = e * p.capacity; s < (e + 1) * p.capacity; ++s)
      weight += static_cast<double>(value_of(p.combine.get(t, s)));
    f(e, weight);
  }
}

}  // namespace polymoe
