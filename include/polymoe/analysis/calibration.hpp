// Whether a classifier's probabilities mean what they say: negative log-likelihood, Brier
// score, expected calibration error.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "../core/view.hpp"

namespace polymoe::inline v0::analysis {

/// One bin of confidences.
struct reliability_bin {
  index count = 0;
  double confidence = 0;  ///< mean probability of the predicted class
  double accuracy = 0;    ///< share of right predictions
};
struct calibration {
  index rows = 0;
  double accuracy = 0;
  double nll = 0;    ///< mean -log probability of the label
  double brier = 0;  ///< mean squared distance of the probabilities from the label's indicator
  double ece = 0;    ///< sum over bins of their share times |accuracy - confidence| (Guo et al. 2017, eq. 3)
  double mce = 0;    ///< largest |accuracy - confidence| of a bin that is not empty
  std::vector<reliability_bin> bins{};
};

/// From logits [rows, classes]; bins of equal width over confidences in (0, 1].
template <class T>
calibration calibrate(view<const T> logits, std::span<const std::int32_t> labels, index bins = 15) {
  require(static_cast<index>(labels.size()) == logits.rows && logits.rows > 0 && bins >= 1,
          "calibrate: ", labels.size(), " labels, logits ", shape_text(logits), ", ", bins, " bins");
  calibration c;
  c.rows = logits.rows;
  c.bins.resize(static_cast<std::size_t>(bins));
  const double share = 1 / static_cast<double>(c.rows);
  for (index r = 0; r < logits.rows; ++r) {
    const index label = labels[static_cast<std::size_t>(r)];
    require(label >= 0 && label < logits.cols, "calibrate: label ", label, " of row ", r, " is not in [0, ",
            logits.cols, ")");
    const auto z = [&](index k) { return static_cast<double>(value_of(logits.get(r, k))); };
    index best = 0;
    for (index k = 1; k < logits.cols; ++k)
      if (z(k) > z(best)) best = k;
    double sum = 0;
    for (index k = 0; k < logits.cols; ++k) sum += std::exp(z(k) - z(best));
    require(std::isfinite(sum), "calibrate: row ", r, " is not finite");
    c.nll += share * (std::log(sum) - (z(label) - z(best)));
    for (index k = 0; k < logits.cols; ++k) {
      const double d = std::exp(z(k) - z(best)) / sum - (k == label);
      c.brier += share * d * d;
    }
    const double confidence = 1 / sum;
    c.accuracy += share * (best == label);
    // (low, high]: a confidence on a border belongs to the bin below.
    const auto at = static_cast<index>(std::ceil(confidence * static_cast<double>(bins))) - 1;
    reliability_bin& bin = c.bins[static_cast<std::size_t>(std::min(std::max<index>(at, 0), bins - 1))];
    ++bin.count, bin.confidence += confidence, bin.accuracy += best == label;
  }
  for (reliability_bin& b : c.bins) {
    if (b.count == 0) continue;
    b.confidence /= static_cast<double>(b.count), b.accuracy /= static_cast<double>(b.count);
    const double gap = std::abs(b.accuracy - b.confidence);
    c.ece += share * static_cast<double>(b.count) * gap;
    c.mce = std::max(c.mce, gap);
  }
  return c;
}

}  // namespace polymoe::analysis
