// top_k<K, Score>: token choice, every unit takes its K best experts.
// mixture<Score>: every unit takes every expert, weighted by its score (per-sample Soft MoE, paper A; paper B's head).
//
// A router policy has
//   static constexpr int k                        experts per unit, or every_expert
//   scores(logits_row) -> row                     what gates are made of
//   select(row) -> choice<k>                      not needed when k is every_expert
//   vjp(logits_row, d_scores_row) -> d_logits_row
// and, when its logits are noisy in training, noise_std(row) (see score/noisy.hpp).
#pragma once

#include "../score/softmax.hpp"

namespace polymoe::inline v0 {

/// `k` of a router that uses all experts.
inline constexpr int every_expert = -1;

template <int K, class Score = score::softmax>
struct top_k : Score {
  static constexpr int k = K;
  using score_type = Score;
  template <class Row>
  POLYMOE_HD Row scores(const Row& logits) const {
    return Score::forward(logits);
  }
  template <class Row>
  POLYMOE_HD choice<K> select(const Row& scores) const {
    return largest<K>(scores);
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& logits, const Row& d_scores) const {
    return Score::vjp(logits, d_scores);
  }
};

template <class Score = score::softmax>
struct mixture : Score {
  static constexpr int k = every_expert;
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

}  // namespace polymoe
