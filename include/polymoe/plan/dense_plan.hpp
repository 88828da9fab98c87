// Plans of routers that mix units into slots (Soft MoE; paper C 3.1, tensors D and K).
//
//   expert input  x_in[s]  = sum_t dispatch[t, s] x[t]
//   layer output  y[t]     = sum_s combine[t, s] y_out[s]
// Slot s = e*C + c inside a group; rows of different groups share no slots.  The payload of slot s of group g is row
// s*G + g: an expert's rows lie together, and those of a group are G rows apart.  Rows of units that are not finite are
// zero in both.
//
//   slot_layout       what every such plan has: sizes, and which units are left out
//   dense_plan        both matrices spelled out: the plan of backends that multiply by them, and for sparse plans the
//                     test oracle (expand.hpp)
//   owned_dense_plan  the same with its own memory on the host
// The CPU's plan keeps what the matrices are made of instead (backend/cpu/slot_plan.hpp).
#pragma once

#include <vector>

#include "sparse_plan.hpp"

namespace polymoe::inline v0 {

struct slot_layout {
  int tokens = 0;      ///< T
  int experts = 0;     ///< E
  int groups = 0;      ///< G
  int group_size = 0;
  int capacity = 0;    ///< C
  int all_experts = 0; ///< E
  int max_slots = 0;   ///< E*G*C
  unsigned char* bad = nullptr;  ///< [T] 1 where the router row was not finite: output NaN (null: no such unit)
  int* bad_count = nullptr;      ///< [1]

  POLYMOE_HD int group_slots() const { return experts * capacity; }
  /// Payload row of slot s of group g.
  POLYMOE_HD index slot_row(int g, int s) const { return index{s} * groups + g; }
  /// Rows of a unit as one row.
  template <class U>
  static view<U> by_units(view<U> v, index unit_rows) {
    if (unit_rows == 1) return v;
    require(v.contiguous(), "plan of slots: the rows of a unit must lie together, the payload has stride ", v.stride,
            " and ", v.cols, " columns");
    return v.reshaped(v.rows / unit_rows, v.cols * unit_rows);
  }
};

template <class C>
struct dense_plan : slot_layout {
  using gate_type = C;
  view<C> dispatch;    ///< [T, E*C]
  view<C> combine;     ///< [T, E*C]
};
template <class C>
struct plan_grad<dense_plan<C>> {
  view<C> dispatch;  ///< [T, E*C]
  view<C> combine;   ///< [T, E*C]
};

/// A dense plan with its own memory, zero at first.
template <class C>
struct owned_dense_plan : dense_plan<C> {
  std::vector<real_t<C>> memory;

  explicit owned_dense_plan(const slot_layout& sizes) {
    static_cast<slot_layout&>(*this) = sizes;
    const index rows = this->tokens, slots = this->group_slots(), size = rows * slots;
    memory.assign(static_cast<std::size_t>(size * 2 * view<C>::planes), real_t<C>(0));
    auto* at = memory.data();
    for (view<C>* m : {&this->dispatch, &this->combine}) {
      m->rows = rows, m->cols = slots, m->stride = slots;
      for (int i = 0; i < view<C>::planes; ++i, at += size) m->ptr[i] = at;
    }
  }
  owned_dense_plan(owned_dense_plan&&) noexcept = default;
  owned_dense_plan& operator=(owned_dense_plan&&) noexcept = default;
};

}  // namespace polymoe
