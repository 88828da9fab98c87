// Figures over seeds: mean and standard error, paired differences, bootstrap intervals, sign tests.
//
// Arms of an experiment that share seed and order of data are compared by their differences: most of the spread between
// seeds is common to both.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "../core/error.hpp"
#include "../core/rng.hpp"

namespace polymoe::inline v0::analysis {

struct summary {
  index n = 0;
  double mean = 0;
  double deviation = 0;       ///< sample standard deviation, n - 1 in its denominator; NaN for one number
  double standard_error = 0;  ///< of the mean
};

inline summary summarise(std::span<const double> x) {
  require(!x.empty(), "summarise: there are no numbers");
  summary s;
  s.n = static_cast<index>(x.size());
  const double n = static_cast<double>(s.n);
  for (const double v : x) s.mean += v / n;
  double square = 0;
  for (const double v : x) square += (v - s.mean) * (v - s.mean);
  s.deviation = std::sqrt(square / (n - 1));  // 0 / 0 for one number
  s.standard_error = s.deviation / std::sqrt(n);
  return s;
}

namespace detail {
inline std::vector<double> differences(std::span<const double> a, std::span<const double> b) {
  require(a.size() == b.size() && !a.empty(), "paired figures: ", a.size(), " and ", b.size(), " numbers");
  std::vector<double> d(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) d[i] = a[i] - b[i];
  return d;
}
}  // namespace detail

/// a - b, seed by seed.
inline summary paired_difference(std::span<const double> a, std::span<const double> b) {
  return summarise(detail::differences(a, b));
}

struct interval {
  double low = 0, high = 0;
};

/// P(|t| <= x) of Student's t with that many degrees of freedom, x >= 0 (Abramowitz and Stegun, 26.7.3 and 26.7.4).
inline double student_within(double x, index freedom) {
  require(freedom >= 1 && x >= 0, "student_within: x = ", x, " with ", freedom, " degrees of freedom");
  const double angle = std::atan(x / std::sqrt(static_cast<double>(freedom))), c = std::cos(angle), s = std::sin(angle);
  const bool odd = freedom % 2 == 1;
  double term = odd ? c : 1, sum = freedom == 1 ? 0 : term;
  for (index k = odd ? 3 : 2; k < freedom; k += 2)
    term *= c * c * static_cast<double>(k - 1) / static_cast<double>(k), sum += term;
  return odd ? 2 / 3.14159265358979323846 * (angle + s * sum) : s * sum;
}
/// Where the mean of what `x` was drawn from lies, by Student's t: wide for few numbers, as it should be.
inline interval mean_interval(std::span<const double> x, double level = 0.95) {
  require(x.size() >= 2 && level > 0 && level < 1, "mean_interval: ", x.size(), " numbers, level ", level,
          "; at least 2 are needed");
  const summary s = summarise(x);
  double low = 0, high = 1;
  while (student_within(high, s.n - 1) < level) low = high, high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (student_within(middle, s.n - 1) < level ? low : high) = middle;
  }
  return {s.mean - high * s.standard_error, s.mean + high * s.standard_error};
}

/// Percentile bootstrap of the mean of `x` (of paired differences: pass those).  A function of (x, level, seed) alone.
inline interval bootstrap_mean(std::span<const double> x, double level = 0.95, index resamples = 10000,
                               std::uint64_t seed = 0) {
  require(!x.empty() && level > 0 && level < 1 && resamples >= 10, "bootstrap_mean: ", x.size(), " numbers, level ",
          level, ", ", resamples, " resamples");
  const std::uint32_t n = static_cast<std::uint32_t>(x.size());
  std::vector<double> means(static_cast<std::size_t>(resamples));
  for (std::size_t r = 0; r < means.size(); ++r) {
    const random_stream draw = random_root{seed}.stream(stream_id("analysis.bootstrap"), r);
    double s = 0;
    for (std::uint32_t i = 0; i < n; ++i) s += x[draw.below(i, n)];
    means[r] = s / n;
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double q) {
    const double place = q * static_cast<double>(means.size() - 1), base = std::floor(place);
    const auto i = static_cast<std::size_t>(base);
    return i + 1 < means.size() ? means[i] + (place - base) * (means[i + 1] - means[i]) : means.back();
  };
  return {at((1 - level) / 2), at((1 + level) / 2)};
}

struct sign_test_result {
  index positive = 0, negative = 0;  ///< signs of a - b; equal pairs count nowhere
  double p = 1;                      ///< two-sided: as uneven or more, if either sign were as likely
};

inline sign_test_result sign_test(std::span<const double> a, std::span<const double> b) {
  sign_test_result r;
  for (const double d : detail::differences(a, b)) r.positive += d > 0, r.negative += d < 0;
  const index n = r.positive + r.negative, few = std::min(r.positive, r.negative);
  if (n == 0) return r;
  // Binomial tail in logarithms, so that many pairs do not underflow.
  double tail = 0;
  for (index k = 0; k <= few; ++k) {
    const double log_choose = std::lgamma(static_cast<double>(n) + 1) - std::lgamma(static_cast<double>(k) + 1) -
                              std::lgamma(static_cast<double>(n - k) + 1);
    tail += std::exp(log_choose - static_cast<double>(n) * std::log(2.0));
  }
  r.p = std::min(1.0, 2 * tail);
  return r;
}

}  // namespace polymoe::analysis
