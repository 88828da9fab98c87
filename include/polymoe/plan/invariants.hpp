// plan_violation(plan): the first broken promise of a sparse plan, or an empty string.
//
// Works on plans in host memory.  Used by tests and by anyone who writes a capacity policy or a router.
#pragma once

#include <string>
#include <vector>

#include "../core/math.hpp"
#include "sparse_plan.hpp"

namespace polymoe::inline v0 {

template <class C>
std::string plan_violation(const sparse_plan<C>& p) {
  const auto say = [](auto... parts) {
    std::ostringstream s;
    (s << ... << parts);
    return s.str();
  };
  if (p.layout == plan_layout::identity) {
    for (int s = 0; s < p.tokens * p.all_experts; ++s)
      if (!math::is_finite(p.gate.get(0, s)) && !(p.bad && p.bad[s % p.tokens]))
        return say("gate of slot ", s, " is not finite");
    return {};
  }
  if (p.slots_begin) {
    if (p.slots_begin[0] != 0) return say("slots_begin[0] is ", p.slots_begin[0]);
    for (int t = 0; t < p.tokens; ++t) {
      const int first = p.slots_begin[t], end = p.slots_begin[t + 1];
      if (first > end) return say("slots_begin falls from ", first, " to ", end, " at unit ", t);
      if (end > p.max_slots)
        return say("slots_begin of unit ", t + 1, " is ", end, ", there are ", p.max_slots, " slots");
      for (int i = first; i < end; ++i) {
        if (p.slot_of[i] < 0) return say("unit ", t, " lists slot ", p.slot_of[i]);
        if (i > first && p.slot_of[i] <= p.slot_of[i - 1])
          return say("slots of unit ", t, " are not rising: ", p.slot_of[i - 1], ", ", p.slot_of[i]);
      }
    }
  }
  if (p.begin[0] != 0) return say("begin[0] is ", p.begin[0]);
  int expected = 0;
  for (int e = 0; e < p.all_experts; ++e) {
    if (p.begin[e] > p.begin[e + 1])
      return say("begin falls from ", p.begin[e], " to ", p.begin[e + 1], " at expert ", e);
    for (int g = 0; g < p.groups; ++g) {
      const int n = p.count[e * p.groups + g], at = p.run_begin[e * p.groups + g];
      const bool fallback = e >= p.experts;
      if (n < 0 || (!fallback && n > p.capacity) || n > p.group_size)
        return say("expert ", e, " group ", g, " holds ", n, " units, capacity is ", p.capacity);
      if (p.layout == plan_layout::packed && at != expected)
        return say("run of expert ", e, " group ", g, " begins at ", at, " instead of ", expected);
      if (at < p.begin[e] || at + n > p.begin[e + 1])
        return say("run of expert ", e, " group ", g, " leaves its expert's slots");
      expected = at + n;
      for (int i = 0; i < n; ++i) {
        const int t = p.token[at + i];
        if (t < 0 || t >= p.tokens) return say("slot ", at + i, " holds unit ", t, " of ", p.tokens);
        if (p.group_of(t) != g)
          return say("slot ", at + i, " of group ", g, " holds unit ", t, " of group ", p.group_of(t));
        int found = 0;
        for (int j = 0; j < p.choices(t); ++j) found += p.slot_at(t, j) == at + i;
        if (found != 1) return say("slot ", at + i, " appears ", found, " times in the inverse of unit ", t);
        if (!math::is_finite(p.gate.get(0, at + i))) return say("gate of slot ", at + i, " is not finite");
      }
    }
  }
  if (p.begin[p.all_experts] > p.max_slots) return say(p.begin[p.all_experts], " slots exceed the bound ", p.max_slots);
  for (int t = 0; t < p.tokens; ++t) {
    std::vector<int> seen;
    for (int j = 0; j < p.choices(t); ++j) {
      const int s = p.slot_at(t, j);
      if (s < 0) continue;
      if (s >= p.begin[p.all_experts]) return say("unit ", t, " names slot ", s, " of ", p.begin[p.all_experts]);
      if (p.token[s] != t) return say("unit ", t, " names slot ", s, " that holds unit ", p.token[s]);
      if (p.bad && p.bad[t]) return say("unit ", t, " is not finite and still has a slot");
      int e = 0;
      while (s >= p.begin[e + 1]) ++e;
      for (const int other : seen)
        if (other == e) return say("unit ", t, " has expert ", e, " twice");
      seen.push_back(e);
    }
  }
  return {};
}

}  // namespace polymoe
