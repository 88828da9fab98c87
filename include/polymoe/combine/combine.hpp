// Combine policies: from the scores of a unit's choices to the weights of the experts' outputs.
//
//   affinity                     the score itself         (V-MoE, arXiv 2106.05974; paper C, arXiv 2401.15969)
//   renormalised<over_chosen>    divided by the sum over the K chosen, kept or not
//   renormalised<over_kept>      divided by the sum over the choices that got a place
//   sum                          1 for every kept choice
//   interpolated                 the score itself, and the unit with what the scores of its kept choices leave of 1:
//                                y = sum_j s_j f_j(x) + (1 - sum_j s_j) x                   (BASE, Lewis et al. 2021)
//
// A combine policy has weigh(c) -> weights and vjp(c, d_weights, d_scores); c holds the scores of at most K choices and
// whether each was kept.  Weights of choices that were not kept are ignored, their gradient is zero.  With
// `static constexpr bool rest_to_unit = true` the unit itself has the weight that those of its kept choices leave of 1.
#pragma once

#include "../core/row.hpp"

namespace polymoe::inline v0 {

/// The scores of one unit's choices.
template <int K, class S>
struct chosen_scores {
  int n = K;      ///< choices present
  S score[K];     ///< of the expert that will compute (after rerouting)
  bool kept[K];   ///< got a place
};

/// True where a unit is part of its own output, with the weight that its choices leave.
template <class Combine>
inline constexpr bool rest_to_unit = requires { requires bool(Combine::rest_to_unit); };

/// What the weights of the kept choices leave of 1.
template <int K, class S>
POLYMOE_HD S rest_of(const chosen_scores<K, S>& c, const S* weight) {
  S rest(1);
  for (int j = 0; j < c.n; ++j)
    if (c.kept[j]) rest -= weight[j];
  return rest;
}
/// ... and its gradient, added to those of the weights.
template <int K, class S>
POLYMOE_HD void rest_vjp(const chosen_scores<K, S>& c, const S& d_rest, S* d_weight) {
  for (int j = 0; j < c.n; ++j)
    if (c.kept[j]) d_weight[j] -= d_rest;
}

namespace combine {

/// weight_j = score_j, not renormalised (V-MoE, Riquelme et al. 2021).
struct affinity {
  static constexpr const char* name = "affinity";
  template <int K, class S>
  POLYMOE_HD void weigh(const chosen_scores<K, S>& c, S* weight) const {
    for (int j = 0; j < c.n; ++j) weight[j] = c.score[j];
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d_weight, S* d_score) const {
    for (int j = 0; j < c.n; ++j) d_score[j] = d_weight[j];
  }
};

/// weight_j = 1: outputs add up, and the task teaches the router nothing.
struct sum {
  static constexpr const char* name = "sum";
  template <int K, class S>
  POLYMOE_HD void weigh(const chosen_scores<K, S>& c, S* weight) const {
    for (int j = 0; j < c.n; ++j) weight[j] = S(1);
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S*, S* d_score) const {
    for (int j = 0; j < c.n; ++j) d_score[j] = S(0);
  }
};

/// A unit that no expert serves stays as it is.  Inside a block that adds x again (nn::residual) affinity is what is
/// wanted: fairseq's experts of BASE add x themselves, so that its blocks are x + s (f(x) - x) with such an f.
struct interpolated : affinity {
  static constexpr const char* name = "interpolated";
  static constexpr bool rest_to_unit = true;
};

/// The sum that `renormalised` divides by has all K choices, kept or not.
struct over_chosen {};
/// ... or those that got a place.
struct over_kept {};

/// weight_j = score_j / (1e-20 + sum of scores).  With K = 1 the weight is always 1 and the router learns nothing from
/// the task: a known trap, see docs/policies/combine_renormalised.md.
template <class Over = over_chosen>
struct renormalised {
  static constexpr const char* name =
      std::is_same_v<Over, over_kept> ? "renormalised<over_kept>" : "renormalised<over_chosen>";
  static constexpr bool kept_only = std::is_same_v<Over, over_kept>;
  template <int K, class S>
  POLYMOE_HD S total(const chosen_scores<K, S>& c) const {
    S t(1e-20f);
    for (int j = 0; j < c.n; ++j)
      if (!kept_only || c.kept[j]) t += c.score[j];
    return t;
  }
  template <int K, class S>
  POLYMOE_HD void weigh(const chosen_scores<K, S>& c, S* weight) const {
    const S inverse = S(1) / total(c);
    for (int j = 0; j < c.n; ++j) weight[j] = c.score[j] * inverse;
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d_weight, S* d_score) const {
    const S inverse = S(1) / total(c);
    S dot(0);
    for (int j = 0; j < c.n; ++j) dot += d_weight[j] * c.score[j];
    dot = dot * inverse * inverse;
    for (int j = 0; j < c.n; ++j)
      d_score[j] = d_weight[j] * inverse - (!kept_only || c.kept[j] ? dot : S(0));
  }
};

}  // namespace combine
}  // namespace polymoe
