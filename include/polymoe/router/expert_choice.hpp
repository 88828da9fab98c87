// expert_choice<Score>: in every group, each expert takes its C best units   (Zhou et al. 2022; paper C, router 3).
//
// Scores are made row by row (softmax over the experts); then every expert looks down its column.  C comes from the
// capacity policy, asked with k = 1: C = ceil(n * factor / E), so `factor` is the mean number of experts per unit.
// Ties go to the unit with the lower index.  A unit may end with no expert, whose output is then zero, or with several.
//
// A router of your own of this kind has k = picked_by_experts, scores(row) and vjp(row, d_row); nothing to select.
#pragma once

#include "top_k.hpp"

namespace polymoe::inline v0 {

template <class Score = score::softmax>
struct expert_choice : detail::scored<picked_by_experts, Score> {};

}  // namespace polymoe
