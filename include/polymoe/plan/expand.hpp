// expand(sparse_plan) -> dense_plan, and a plain layer on dense plans: the oracle that sparse
// execution is tested against.
//
// Slow and simple on purpose; memory is [T, E*C] twice.
#pragma once

#include <algorithm>

#include "dense_plan.hpp"
#include "sparse_plan.hpp"

namespace polymoe::inline v0 {

/// Position of a slot inside its run.
template <class C>
int position_in_run(const sparse_plan<C>& p, int slot, int* expert, int* group) {
  if (p.layout == plan_layout::identity) {
    *expert = slot / p.tokens, *group = (slot % p.tokens) / p.group_size;
    return slot % p.tokens - *group * p.group_size;
  }
  for (int e = 0; e < p.all_experts; ++e)
    for (int g = 0; g < p.groups; ++g) {
      const int at = slot - p.run_begin[e * p.groups + g];
      if (at >= 0 && at < p.count[e * p.groups + g]) {
        *expert = e, *group = g;
        return at;
      }
    }
  detail::fail("expand: slot ", slot, " belongs to no run");
}

/// Spells a sparse plan out.  What the unit itself is weighed with (skip) and bad rows are not part of it.
template <class C>
owned_dense_plan<C> expand(const sparse_plan<C>& p) {
  slot_layout sizes;
  sizes.capacity = 1;
  for (int i = 0; i < p.all_experts * p.groups && p.count; ++i) sizes.capacity = std::max(sizes.capacity, p.count[i]);
  if (p.layout == plan_layout::identity) sizes.capacity = p.group_size;
  sizes.tokens = p.tokens, sizes.experts = p.all_experts, sizes.groups = p.groups, sizes.group_size = p.group_size;
  owned_dense_plan<C> d(sizes);
  for (int t = 0; t < p.tokens; ++t) {
    auto put = [&](int slot) {
      if (slot < 0) return;
      int e = 0, g = 0;
      const int at = position_in_run(p, slot, &e, &g);
      d.dispatch.set(t, index{e} * sizes.capacity + at, C(1));
      d.combine.set(t, index{e} * sizes.capacity + at, p.gate.get(0, slot));
    };
    if (p.bad && p.bad[t]) continue;
    for (int j = 0; j < p.choices(t); ++j) put(p.slot_at(t, j));
  }
  return d;
}

}  // namespace polymoe
