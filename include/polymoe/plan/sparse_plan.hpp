// sparse_plan: the result of sparse routing: which slot holds which unit, and with what weight it comes back.
//
// Slots are ordered by (expert, group, position).  Three layouts:
//   padded    expert e, group g owns slots [(e*G + g)*C, +C); unused ones hold token -1
//   packed    runs follow each other without gaps
//   identity  every expert sees every unit: slot e*T + t, no copy of the payload (mixtures)
// The inverse is kept in rows, so that combine is a gather in every case and needs no atomics: a fixed stride of K
// slots per unit, or offsets (slots_begin) where a unit may have any number of experts. Ids are 32-bit; sizes that do
// not fit are refused when the plan is bound.  Counts stay in the backend's memory.
#pragma once

#include <concepts>

#include "../core/view.hpp"

namespace polymoe::inline v0 {

/// Where the slots of an expert lie; see the top of this file.
enum class plan_layout { padded, packed, identity };

/// Pointers and sizes of one call's plan, in the backend's memory; C is the type of the gates.
template <class C>
struct sparse_plan {
  using gate_type = C;

  plan_layout layout = plan_layout::packed;
  int tokens = 0;      ///< T, routed units in this call
  int experts = 0;     ///< E, experts that have a score
  int all_experts = 0;  ///< E, or E + 1 with a fallback expert (its id is E)
  int groups = 0;      ///< G
  int group_size = 0;  ///< units per group; the last group may be smaller
  int k = 0;           ///< row stride of the inverse; 0 when slots_begin is used
  int capacity = 0;    ///< C, slots per expert and group
  int max_slots = 0;   ///< S, bound known on the host

  int* begin = nullptr;      ///< [all_experts + 1] first slot of each expert
  int* count = nullptr;      ///< [all_experts * G] occupied slots of each run
  int* run_begin = nullptr;  ///< [all_experts * G] first slot of each run
  int* token = nullptr;      ///< [S] unit in a slot, -1 when empty (null in identity layout)
  view<C> gate;              ///< [1, S] weight of the slot's output

  int* slot_of = nullptr;      ///< [T * K] slot of a unit's j-th choice, -1 when it has none
  int* expert_of = nullptr;    ///< [T * K] expert whose score weighs the choice, -1 when dropped (null with a list)
  int* slots_begin = nullptr;  ///< [T + 1] with slot_of as a list, for units with any number of experts
  int* fallback_slot = nullptr;  ///< [T] slot in the fallback expert, -1 when none (null without fallback)
  view<C> skip;                  ///< [1, T] weight of the unit itself (null unless overflow or combine gives it one)
  unsigned char* bad = nullptr;  ///< [T] 1 where the router row was not finite: no slots, output NaN
  int* bad_count = nullptr;    ///< [1]

  /// Slots that can be asked for by slot_at.
  POLYMOE_HD int choices(int t) const { return slots_begin ? slots_begin[t + 1] - slots_begin[t] : k; }
  /// The j-th slot of unit t, -1 when that choice has none.
  POLYMOE_HD int slot_at(int t, int j) const {
    if (layout == plan_layout::identity) return j * tokens + t;
    return slots_begin ? slot_of[slots_begin[t] + j] : slot_of[t * k + j];
  }
  /// The unit in a slot, -1 when empty.
  POLYMOE_HD int token_at(int slot) const {
    return layout == plan_layout::identity ? slot % tokens : token[slot];
  }
  POLYMOE_HD int group_of(int t) const { return t / group_size; }
};

/// The gradients of what a plan holds: one specialisation for each kind of plan.
template <class Plan>
struct plan_grad;
template <class C>
struct plan_grad<sparse_plan<C>> {
  view<C> gate;  ///< [1, S]
  view<C> skip;  ///< [1, T], empty where the plan has none
};

/// A plan the apply stage can work with: units, experts, and a gate per slot.
template <class P>
concept plan = requires(const P p) {
  { p.tokens } -> std::convertible_to<int>;
  { p.experts } -> std::convertible_to<int>;
  { p.groups } -> std::convertible_to<int>;
};

}  // namespace polymoe
