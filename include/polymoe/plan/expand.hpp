// expand(sparse_plan) -> dense_plan, and a plain layer on dense plans: the oracle that sparse execution is tested against.
//
// Slow and simple on purpose; memory is [T, E*C] twice.
#pragma once

#include <vector>

#include "dense_plan.hpp"
#include "sparse_plan.hpp"

namespace polymoe::inline v0 {

/// A dense plan with its own memory.
template <class C>
struct owned_dense_plan {
  std::vector<real_t<C>> memory;
  dense_plan<C> plan;
};

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

/// Spells a sparse plan out.  Overflow to the unit itself (skip) and bad rows are not part of it.
template <class C>
owned_dense_plan<C> expand(const sparse_plan<C>& p) {
  owned_dense_plan<C> out;
  int capacity = 1;
  for (int i = 0; i < p.all_experts * p.groups && p.count; ++i) capacity = p.count[i] > capacity ? p.count[i] : capacity;
  if (p.layout == plan_layout::identity) capacity = p.group_size;
  const index slots = index{p.all_experts} * capacity, size = index{p.tokens} * slots;
  out.memory.assign(static_cast<std::size_t>(size * 2 * view<C>::planes), real_t<C>(0));
  dense_plan<C>& d = out.plan;
  d.tokens = p.tokens, d.experts = p.all_experts, d.groups = p.groups, d.group_size = p.group_size;
  d.capacity = capacity;
  for (view<C>* m : {&d.dispatch, &d.combine}) {
    m->rows = p.tokens, m->cols = slots, m->stride = slots;
    for (int i = 0; i < view<C>::planes; ++i)
      m->ptr[i] = out.memory.data() + size * (2 * i + (m == &d.combine ? 1 : 0));
  }
  for (int t = 0; t < p.tokens; ++t) {
    auto put = [&](int slot) {
      if (slot < 0) return;
      int e = 0, g = 0;
      const int at = position_in_run(p, slot, &e, &g);
      d.dispatch.set(t, index{e} * capacity + at, C(1));
      d.combine.set(t, index{e} * capacity + at, p.gate.get(0, slot));
    };
    if (p.bad && p.bad[t]) continue;
    for (int j = 0; j < p.choices(t); ++j) put(p.slot_at(t, j));
  }
  return out;
}

}  // namespace polymoe
