// What a score that plans whole groups sees: the logits of a group, room for its plan, and memory for the way back.
//
// Such a score has, beside the row scores (which balance losses and statistics see, and gates unless `weighs_plan`):
//   using group_plan = void;
//   static constexpr bool weighs_plan          gates are made of the plan, and gradients flow through it
//   static constexpr bool weighs_clean_scores  optional: row scores are of the clean logits, the plan of the noisy ones
//   index kept(units, experts) const           numbers of one group kept for the backward
//   plan_group(block, cells) const             fills cells.plan; rows of bad units with zeros
//   plan_group_vjp(block, cells) const         d_plan to d_logits (of the scaled logits), in place; with weighs_plan
//   static constexpr bool carries_prices       optional: begins with the prices of the last step (`start`) and leaves
//                                             its own (`found`); the routing keeps their mean over groups as state
// Both are phases over a block context (core/block.hpp).  Selections compare the plan.
#pragma once

#include "../core/block.hpp"
#include "../core/view.hpp"

namespace polymoe::inline v0 {

template <class C>
struct group_cells {
  view<C> logits;  ///< [n, E] with noise, before the temperature
  float inverse_temperature = 1;
  view<C> scores;                      ///< [n, E] of the rows
  bool picked = false;                 ///< experts pick units; false: units choose experts
  bool training = true;
  index limit = 0;                     ///< C where experts pick, K where units choose, E in mixtures
  const unsigned char* bad = nullptr;  ///< [n]
  view<C> plan;                        ///< [n, E]
  view<C> d_plan;                      ///< [n, E]
  view<C> kept;                        ///< [1, kept(n, E)]
  int* steps = nullptr;                ///< [1] a number to keep beside
  int* bins = nullptr;                 ///< [phase::select_bins] counters shared by the block
  const float* start = nullptr;        ///< [E] prices to begin with, those of the last step; null: none
  float* found = nullptr;              ///< [E] where to leave this group's, NaN without finite units; null: nobody asks

  POLYMOE_HD index units() const { return logits.rows; }
  POLYMOE_HD index experts() const { return logits.cols; }
  POLYMOE_HD C scaled(index t, index e) const { return logits.get(t, e) * C(inverse_temperature); }
};

/// The plans of a call as the host reads them afterwards: what they were made of and what they left.
template <class C>
struct plan_record {
  index groups = 0, group_size = 0;    ///< G; units of each but the last
  bool picked = false;                 ///< as in group_cells
  index limit = 0;                     ///< likewise
  view<C> scores;                      ///< [T, E] of the rows
  view<C> plan;                        ///< [T, E]
  view<C> kept;                        ///< [G, kept(group_size, E)]
  const int* steps = nullptr;          ///< [G]
  const unsigned char* bad = nullptr;  ///< [T]

  index units() const { return scores.rows; }
  index experts() const { return scores.cols; }
};

}  // namespace polymoe
