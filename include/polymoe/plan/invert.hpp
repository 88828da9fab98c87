// inverted(plan): the same plan with its inverse as a list of slots per unit (CSR), for units with any number of
// experts.
//
// A router that lets experts pick units (expert choice), or keeps every score above a threshold, knows who is in which
// slot but has no fixed K.  It fills `token`, `run_begin`, `count`, `begin` and `gate`; this builds what combine and
// the backward pass walk.  Host memory only.
#pragma once

#include "sparse_plan.hpp"

namespace polymoe::inline v0 {

/// The plan with k = 0 and `slots_begin` [T + 1], `slot_of` [occupied slots] in the caller's memory: unit t owns slots
/// slot_of[slots_begin[t]] .. slot_of[slots_begin[t + 1] - 1], ordered by expert id (a fallback expert comes last).
/// `slots_begin` has room for p.tokens + 1 numbers, `slot_of` for `room` numbers (p.max_slots is always enough).
/// Everything else is shared with `p`, whose own inverse is neither read nor changed; `expert_of`, which is by choice,
/// is null in the result.  One pass over the slots, the same result every time, nothing allocated. Throws
/// `polymoe::error` for an identity plan, a slot without a unit of the plan, or too little room.
template <class C>
sparse_plan<C> inverted(const sparse_plan<C>& p, int* slots_begin, int* slot_of, index room) {
  require(p.layout != plan_layout::identity, "inverted: every expert of an identity plan sees all ", p.tokens,
          " units, its inverse is not stored");
  index held = 0;
  for (index run = 0; run < index{p.all_experts} * p.groups; ++run) held += p.count[run];
  require(held <= room, "inverted: ", held, " slots are occupied, there is room for ", room);
  for (int t = 0; t <= p.tokens; ++t) slots_begin[t] = 0;
  const auto each_slot = [&](auto f) {
    for (int e = 0; e < p.all_experts; ++e)
      for (int g = 0; g < p.groups; ++g) {
        const int first = p.run_begin[e * p.groups + g];
        for (int s = first; s < first + p.count[e * p.groups + g]; ++s) f(s);
      }
  };
  each_slot([&](int s) {
    const int t = p.token[s];
    require(t >= 0 && t < p.tokens, "inverted: slot ", s, " holds unit ", t, " of ", p.tokens);
    ++slots_begin[t + 1];
  });
  for (int t = 0; t < p.tokens; ++t) slots_begin[t + 1] += slots_begin[t];
  // Slots rise with the expert, so filling in slot order sorts each list.  The offsets serve as cursors: afterwards
  // slots_begin[t] is where unit t ends, which is where t + 1 begins.
  each_slot([&](int s) { slot_of[slots_begin[p.token[s]]++] = s; });
  for (int t = p.tokens; t > 0; --t) slots_begin[t] = slots_begin[t - 1];
  slots_begin[0] = 0;
  sparse_plan<C> out = p;
  out.k = 0;
  out.slots_begin = slots_begin, out.slot_of = slot_of;
  out.expert_of = nullptr;
  return out;
}

}  // namespace polymoe
