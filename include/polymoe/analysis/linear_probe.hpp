// Few-shot linear probes: how well frozen features tell classes apart, by ridge regression in closed form
// (the protocol of google-research/vmoe, configs/common_fewshot.py, which paper C, arXiv 2401.15969, follows: 1, 5, 10,
// 25 examples of a class, strengths 2^-10 .. 2^19).
//
// Features are standardised by the few examples' mean and deviation, a column of ones is added, targets are +1 for the
// class and -1 for the others, and one eigen-decomposition of the Gram matrix serves every strength.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "../core/rng.hpp"
#include "../core/view.hpp"
#include "symmetric_eigen.hpp"

namespace polymoe::inline v0::analysis {

/// Rows of features and their labels; the memory is the caller's.
struct labelled_features {
  view<const float> x;                   ///< [rows, D]
  std::span<const std::int32_t> labels;  ///< [rows], in [0, classes)
};

struct linear_probe_options {
  index classes = 0;
  index shots = 10;  ///< examples of each class; classes with fewer give all they have
  std::uint64_t seed = 0;
  int lowest_power = -10, highest_power = 19;  ///< strengths 2^lowest .. 2^highest, powers of two
};

struct linear_probe_result {
  index examples = 0;            ///< that were learned from
  std::vector<double> strength;  ///< of the ridge
  std::vector<double> accuracy;  ///< on the test rows, for each strength
  double best = 0;               ///< largest of them; the protocol reports the best strength over data sets
  double best_strength = 0;
};

/// Learns from `shots` rows of each class of `train`, drawn by the seed, and tests on all of `test`.
inline linear_probe_result linear_probe(const labelled_features& train, const labelled_features& test,
                                        const linear_probe_options& o) {
  const index D = train.x.cols, K = o.classes, W = D + 1;
  require(K >= 2 && o.shots >= 1 && o.lowest_power <= o.highest_power, "linear_probe: ", K, " classes, ", o.shots,
          " shots, strengths 2^", o.lowest_power, " to 2^", o.highest_power);
  for (const auto* part : {&train, &test}) {
    require(part->x.rows == static_cast<index>(part->labels.size()) && part->x.cols == D && part->x.rows > 0,
            "linear_probe: features ", shape_text(part->x), " with ", part->labels.size(), " labels, the width is ", D);
    for (const std::int32_t c : part->labels)
      require(c >= 0 && c < K, "linear_probe: label ", c, ", there are ", K, " classes");
  }
  // The examples: a shuffle of all rows, the first `shots` of each class in it.
  std::vector<index> order(static_cast<std::size_t>(train.x.rows)), rows;
  std::iota(order.begin(), order.end(), index{0});
  const random_stream draw = random_root{o.seed}.stream(stream_id("analysis.linear_probe"), 0);
  for (std::size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[draw.below(i, static_cast<std::uint32_t>(i))]);
  std::vector<index> taken(static_cast<std::size_t>(K), 0);
  for (const index r : order)
    if (index& n = taken[static_cast<std::size_t>(train.labels[static_cast<std::size_t>(r)])]; n < o.shots)
      ++n, rows.push_back(r);
  linear_probe_result out;
  out.examples = static_cast<index>(rows.size());

  std::vector<double> mean(static_cast<std::size_t>(D), 0.0), scale(static_cast<std::size_t>(D), 0.0);
  const double n = static_cast<double>(rows.size());
  for (index j = 0; j < D; ++j) {
    double s = 0, square = 0;
    for (const index r : rows) s += static_cast<double>(train.x.get(r, j));
    s /= n;
    for (const index r : rows) square += std::pow(static_cast<double>(train.x.get(r, j)) - s, 2);
    mean[static_cast<std::size_t>(j)] = s;
    // A feature that does not change says nothing.
    scale[static_cast<std::size_t>(j)] = square > 0 ? 1 / std::sqrt(square / n) : 0.0;
  }
  const auto value = [&](const labelled_features& f, index r, index j) {
    if (j == D) return 1.0;
    return (static_cast<double>(f.x.get(r, j)) - mean[static_cast<std::size_t>(j)]) *
           scale[static_cast<std::size_t>(j)];
  };
  // Gram matrix [W, W] and X^T Y [W, K].
  std::vector<double> gram(static_cast<std::size_t>(W * W), 0.0), product(static_cast<std::size_t>(W * K), 0.0),
      row(static_cast<std::size_t>(W));
  for (const index r : rows) {
    for (index j = 0; j < W; ++j) row[static_cast<std::size_t>(j)] = value(train, r, j);
    const index label = train.labels[static_cast<std::size_t>(r)];
    for (index i = 0; i < W; ++i) {
      const double x = row[static_cast<std::size_t>(i)];
      for (index j = 0; j < W; ++j) gram[static_cast<std::size_t>(i * W + j)] += x * row[static_cast<std::size_t>(j)];
      for (index k = 0; k < K; ++k) product[static_cast<std::size_t>(i * K + k)] += k == label ? x : -x;
    }
  }
  const eigen_system s = symmetric_eigen(gram, W);
  const auto vector = [&](index i, index j) { return s.vectors[static_cast<std::size_t>(i * W + j)]; };
  // Everything in the basis of eigenvectors: targets once, test rows once.
  std::vector<double> rotated(static_cast<std::size_t>(W * K), 0.0);
  for (index i = 0; i < W; ++i)
    for (index j = 0; j < W; ++j)
      for (index k = 0; k < K; ++k)
        rotated[static_cast<std::size_t>(i * K + k)] += vector(i, j) * product[static_cast<std::size_t>(j * K + k)];
  std::vector<double> seen(static_cast<std::size_t>(test.x.rows * W), 0.0);
  for (index r = 0; r < test.x.rows; ++r) {
    for (index j = 0; j < W; ++j) row[static_cast<std::size_t>(j)] = value(test, r, j);
    for (index i = 0; i < W; ++i) {
      double x = 0;
      for (index j = 0; j < W; ++j) x += vector(i, j) * row[static_cast<std::size_t>(j)];
      seen[static_cast<std::size_t>(r * W + i)] = x;
    }
  }
  std::vector<double> weight(static_cast<std::size_t>(W * K));
  for (int power = o.lowest_power; power <= o.highest_power; ++power) {
    const double strength = std::ldexp(1.0, power);
    for (index i = 0; i < W; ++i)
      for (index k = 0; k < K; ++k)
        weight[static_cast<std::size_t>(i * K + k)] = rotated[static_cast<std::size_t>(i * K + k)] /
                                                      (std::max(s.values[static_cast<std::size_t>(i)], 0.0) + strength);
    index right = 0;
    for (index r = 0; r < test.x.rows; ++r) {
      index best = 0;
      double most = -HUGE_VAL;
      for (index k = 0; k < K; ++k) {
        double score = 0;
        for (index i = 0; i < W; ++i)
          score += seen[static_cast<std::size_t>(r * W + i)] * weight[static_cast<std::size_t>(i * K + k)];
        if (score > most) most = score, best = k;
      }
      right += best == test.labels[static_cast<std::size_t>(r)];
    }
    out.strength.push_back(strength);
    out.accuracy.push_back(static_cast<double>(right) / static_cast<double>(test.x.rows));
    if (out.accuracy.back() > out.best) out.best = out.accuracy.back(), out.best_strength = strength;
  }
  return out;
}

}  // namespace polymoe::analysis
