// top_k<K, Score>: token choice, every unit takes its K best experts.
// mixture<Score>: every unit takes every expert, weighted by its score (per-sample Soft MoE, paper A; paper B's head).
//
// A router policy has
//   static constexpr int k                        experts per unit, or one of the constants below
//   scores(logits_row) -> row                     what gates are made of
//   select(row) -> choice<k>                      for k experts per unit only; or select(row, unit), see fixed.hpp
//   vjp(logits_row, d_scores_row) -> d_logits_row
// and, when its logits are noisy in training, noise_std(row) (see score/noisy.hpp).
#pragma once

#include "../score/softmax.hpp"

namespace polymoe::inline v0 {

/// `k` of a router that uses all experts.
inline constexpr int every_expert = -1;
/// `k` of a router whose experts pick units: a unit may have any number of experts (expert_choice.hpp).
inline constexpr int picked_by_experts = -1001;
/// `k` of a router that mixes units into slots: the plan is a dense one (soft_slots.hpp).
inline constexpr int mixed_into_slots = -1002;

/// A router whose score sees a whole group before anything is chosen (score/sinkhorn.hpp).
template <class Router>
concept plans_groups = requires { typename Router::group_plan; };
/// ... and makes gates of what it found there, instead of the rows' own scores.
template <class Router>
inline constexpr bool weighs_plan = [] {
  if constexpr (plans_groups<Router>) return bool(Router::weighs_plan);
  else return false;
}();
/// ... or of the scores of the clean logits: noise and dropout move the choice alone.
template <class Router>
inline constexpr bool weighs_clean_scores = requires {
  requires plans_groups<Router> && bool(Router::weighs_clean_scores);
};
/// ... and begins with what the last step found, one price for each expert: state of the routing.
template <class Router>
inline constexpr bool carries_prices = requires { requires plans_groups<Router> && bool(Router::carries_prices); };
/// A router whose experts pick, and pick only units with a score above zero (positive.hpp).
template <class Router>
inline constexpr bool picks_positive = requires { requires bool(Router::positive_only); };
/// True when a unit's experts follow from its own row: K of them are chosen there.
template <class Router>
inline constexpr bool chooses_in_rows = Router::k >= 1 && !plans_groups<Router>;

namespace detail {
/// What the shipped routers share: scores by a score policy, row by row.
template <int K, class Score>
struct scored : Score {
  static constexpr int k = K;
  using score_type = Score;
  template <class Row>
  POLYMOE_HD Row scores(const Row& logits) const {
    return Score::forward(logits);
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& logits, const Row& d_scores) const {
    return Score::vjp(logits, d_scores);
  }
};
}  // namespace detail

template <int K, class Score = score::softmax>
struct top_k : detail::scored<K, Score> {
  template <class Row>
  POLYMOE_HD choice<K> select(const Row& scores) const {
    return largest<K>(scores);
  }
};

template <class Score = score::softmax>
struct mixture : detail::scored<every_expert, Score> {};

}  // namespace polymoe
