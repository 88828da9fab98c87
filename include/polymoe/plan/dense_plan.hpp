// dense_plan: dispatch and combine matrices, per unit one row over all slots (paper C 3.1, tensors D and K).
//
//   expert input  x_in[s]  = sum_t dispatch[t, s] x[t]
//   layer output  y[t]     = sum_s combine[t, s] y_out[s]
// Slot s = e*C + c inside a group; rows of different groups share no slots.  Soft MoE produces it; for sparse plans it is
// the test oracle (expand.hpp).
#pragma once

#include "../core/view.hpp"

namespace polymoe::inline v0 {

template <class C>
struct dense_plan {
  using gate_type = C;
  int tokens = 0;      ///< T
  int experts = 0;     ///< E
  int groups = 0;      ///< G
  int group_size = 0;
  int capacity = 0;    ///< C
  view<C> dispatch;    ///< [T, E*C]
  view<C> combine;     ///< [T, E*C]
};

}  // namespace polymoe
