// dense_plan: dispatch and combine matrices, per unit one row over all slots (paper C 3.1, tensors D and K).
//
//   expert input  x_in[s]  = sum_t dispatch[t, s] x[t]
//   layer output  y[t]     = sum_s combine[t, s] y_out[s]
// Slot s = e*C + c inside a group; rows of different groups share no slots.  The payload of slot (e, c) of group g is
// row (e*G + g)*C + c, so that an expert's rows lie together.  Rows of units that are not finite are zero in both.
// Soft MoE produces it; for sparse plans it is the test oracle (expand.hpp).
#pragma once

#include "sparse_plan.hpp"

namespace polymoe::inline v0 {

template <class C>
struct dense_plan {
  using gate_type = C;
  int tokens = 0;      ///< T
  int experts = 0;     ///< E
  int groups = 0;      ///< G
  int group_size = 0;
  int capacity = 0;    ///< C
  int all_experts = 0; ///< E
  int max_slots = 0;   ///< E*G*C
  view<C> dispatch;    ///< [T, E*C]
  view<C> combine;     ///< [T, E*C]
  unsigned char* bad = nullptr;  ///< [T] 1 where the router row was not finite: output NaN (null: no such unit)
  int* bad_count = nullptr;      ///< [1]

  POLYMOE_HD int group_slots() const { return experts * capacity; }
  /// Payload row of slot s of group g.
  POLYMOE_HD index slot_row(int g, int s) const { return (index{s / capacity} * groups + g) * capacity + s % capacity; }
};
template <class C>
struct plan_grad<dense_plan<C>> {
  view<C> dispatch;  ///< [T, E*C]
  view<C> combine;   ///< [T, E*C]
};

}  // namespace polymoe
