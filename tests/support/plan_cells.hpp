// One group as a score that plans groups sees it, with its own memory; sums of its plan.
#pragma once

#include "column_layer.hpp"

namespace moe_test {

template <class T>
struct plan_cells {
  tensor<T> logits, scores, plan, d_plan, kept;
  std::vector<unsigned char> bad;
  std::vector<float> start, found;  ///< prices; set `view.start` to begin with them
  int steps = -1, bins[polymoe::phase::select_bins];
  polymoe::group_cells<T> view;

  /// Logits and scores are both `m`; room for `score`.
  template <class Score>
  plan_cells(const Score& score, const matrix& m, index E, bool picked = false, index limit = 0)
      : logits(static_cast<index>(m.size()), E),
        scores(logits),
        plan(logits),
        d_plan(logits),
        kept(1, score.kept(logits.rows, E)),
        bad(m.size(), 0),
        start(static_cast<std::size_t>(E), 0.0f),
        found(static_cast<std::size_t>(E), std::numeric_limits<float>::quiet_NaN()) {
    for (std::size_t t = 0; t < m.size(); ++t)
      for (index e = 0; e < E; ++e) {
        const double x = m[t][static_cast<std::size_t>(e)];
        logits.put(static_cast<index>(t), e, x), scores.put(static_cast<index>(t), e, x);
      }
    view.logits = logits.get(), view.scores = scores.get(), view.plan = plan.get(), view.d_plan = d_plan.get();
    view.kept = kept.get(), view.bad = bad.data(), view.steps = &steps, view.bins = bins;
    view.picked = picked, view.limit = limit, view.found = found.data();
  }
  plan_cells(const plan_cells&) = delete;
  plan_cells& operator=(const plan_cells&) = delete;

  double row_sum(index t) const {
    double s = 0;
    for (index e = 0; e < plan.cols; ++e) s += plan.at(t, e);
    return s;
  }
  double column_sum(index e) const {
    double s = 0;
    for (index t = 0; t < plan.rows; ++t) s += plan.at(t, e);
    return s;
  }
  /// Largest difference of a row's sum from 1, and of a column's from n / E as a share of it.
  double row_error() const {
    double worst = 0;
    for (index t = 0; t < plan.rows; ++t) worst = std::max(worst, std::abs(row_sum(t) - 1));
    return worst;
  }
  double column_error() const {
    const double share = static_cast<double>(plan.rows) / static_cast<double>(plan.cols);
    double worst = 0;
    for (index e = 0; e < plan.cols; ++e) worst = std::max(worst, std::abs(column_sum(e) / share - 1));
    return worst;
  }
  /// <P, S> - gamma / 2 |P|^2.
  double value(double gamma) const {
    double sum = 0;
    for (index t = 0; t < plan.rows; ++t)
      for (index e = 0; e < plan.cols; ++e) sum += plan.at(t, e) * (scores.at(t, e) - gamma / 2 * plan.at(t, e));
    return sum;
  }
  /// The objective of docs/policies/score_sparse_transport.md: the value less `price` for every unit of mass by which a
  /// sum is off.
  double objective(double gamma, double price) const {
    const double share = static_cast<double>(plan.rows) / static_cast<double>(plan.cols);
    double off = 0;
    for (index t = 0; t < plan.rows; ++t) off += std::abs(row_sum(t) - 1);
    for (index e = 0; e < plan.cols; ++e) off += std::abs(column_sum(e) - share);
    return value(gamma) - price * off;
  }
  /// Most non-zeros in a column, or in a row.
  int most_in(bool columns) const {
    int most = 0;
    for (index i = 0; i < (columns ? plan.cols : plan.rows); ++i) {
      int held = 0;
      for (index j = 0; j < (columns ? plan.rows : plan.cols); ++j)
        held += (columns ? plan.at(j, i) : plan.at(i, j)) > 0;
      most = std::max(most, held);
    }
    return most;
  }
};

/// Units in a few clusters of unequal size that want the same experts, with some noise.
inline matrix clustered_matrix(int n, int E, double scale, std::uint64_t seed) {
  matrix a = random_matrix(n, E, 0.3 * scale, seed);
  for (int t = 0; t < n; ++t) {
    const double u = 0.5 + 0.5 * noise(seed + 1, static_cast<std::uint64_t>(t));
    const auto cluster = static_cast<std::uint64_t>(5 * u * u);
    for (int e = 0; e < E; ++e) a[t][e] += scale * noise(seed + 2, cluster * 1000 + static_cast<std::uint64_t>(e));
  }
  return a;
}

}  // namespace moe_test
