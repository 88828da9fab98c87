// From which size on one thing is faster than another: read from measured times, and from models of them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0::analysis {

/// E (1 - (1 - K / E)^T): experts that at least one of T units has, where each takes K of E at random.  Their weights
/// are what a call reads.
inline double experts_met(double experts, double chosen, double units) {
  require(experts > 0 && chosen >= 0 && chosen <= experts && units >= 0, "experts_met: ", chosen, " of ", experts,
          " experts for ", units, " units");
  return experts * (1 - std::pow(1 - chosen / experts, units));
}

/// The least size from which on ratio > 1, by interpolation over the logarithm of the size between the two around it:
/// infinity where the last ratio is not above 1, the first size where all are.  `sizes` rise and are positive.
inline double break_even(std::span<const double> sizes, std::span<const double> ratio) {
  require(!sizes.empty() && sizes.size() == ratio.size(), "break_even: ", sizes.size(), " sizes and ", ratio.size(),
          " ratios");
  for (std::size_t i = 0; i < sizes.size(); ++i)
    require(i == 0 ? sizes[0] > 0 : sizes[i] > sizes[i - 1], "break_even: sizes have to rise from above 0, size ", i,
            " is ", sizes[i]);
  std::size_t i = sizes.size();
  while (i > 0 && ratio[i - 1] > 1) --i;
  if (i == sizes.size()) return HUGE_VAL;
  if (i == 0) return sizes[0];
  const double a = std::log(sizes[i - 1]), b = std::log(sizes[i]),
               share = (1 - ratio[i - 1]) / (ratio[i] - ratio[i - 1]);
  return std::exp(a + (b - a) * share);
}

/// The same of a model of both times: `ratio(size)` for sizes from `first` to `last` in steps of 2 %.
template <class F>
double break_even(double first, double last, F ratio) {
  std::vector<double> sizes, ratios;
  for (double size = first; size <= last * 1.0001; size *= 1.02) sizes.push_back(size), ratios.push_back(ratio(size));
  return break_even(sizes, ratios);
}
/// break_even() in words: "22", "from 1 on", "never up to 256".
inline std::string break_even_text(double at, double first, double last) {
  if (at == HUGE_VAL) return "never up to " + std::to_string(std::lround(last));
  if (at <= first) return "from " + std::to_string(std::lround(first)) + " on";
  return std::to_string(std::lround(at));
}

/// Times as a sum of N terms, t near sum_j c_j x_j.
template <std::size_t N>
struct time_model {
  using terms = std::array<double, N>;
  terms c{};
  double worst = 0;  ///< largest relative error at what it was fitted to

  double operator()(const terms& x) const {
    double t = 0;
    for (std::size_t j = 0; j < N; ++j) t += c[j] * x[j];
    return t;
  }
};

namespace detail {
/// Least squares of the relative error with the terms that are `used`; 0 for the others.
template <std::size_t N>
std::array<double, N> fit_terms(const std::vector<std::array<double, N>>& x, const std::vector<double>& t,
                                const std::array<bool, N>& used) {
  double a[N][N + 1] = {};
  for (std::size_t i = 0; i < N; ++i)
    for (std::size_t r = 0; r < x.size() && used[i]; ++r) {
      for (std::size_t j = 0; j < N; ++j) a[i][j] += used[j] ? x[r][i] * x[r][j] / (t[r] * t[r]) : 0;
      a[i][N] += x[r][i] / t[r];
    }
  for (std::size_t i = 0; i < N; ++i) {
    if (!used[i]) continue;
    std::size_t pivot = i;
    for (std::size_t r = i + 1; r < N; ++r)
      if (used[r] && std::abs(a[r][i]) > std::abs(a[pivot][i])) pivot = r;
    std::swap(a[i], a[pivot]);
    require(a[i][i] != 0, "fit_times: ", x.size(), " times do not tell ", N, " terms apart");
    for (std::size_t r = 0; r < N; ++r) {
      if (r == i || !used[r]) continue;
      const double by = a[r][i] / a[i][i];
      for (std::size_t c = i; c <= N; ++c) a[r][c] -= by * a[i][c];
    }
  }
  std::array<double, N> c{};
  for (std::size_t i = 0; i < N; ++i) c[i] = used[i] ? a[i][N] / a[i][i] : 0;
  return c;
}
}  // namespace detail

/// The model of these times by least squares of the relative error.  x[i]: the terms at t[i] > 0.  No term takes time
/// off: one that would is left out, the worst first.
template <std::size_t N>
time_model<N> fit_times(const std::vector<std::array<double, N>>& x, const std::vector<double>& t) {
  require(x.size() == t.size(), "fit_times: ", x.size(), " rows of terms and ", t.size(), " times");
  for (std::size_t r = 0; r < t.size(); ++r)
    require(t[r] > 0, "fit_times: time ", r, " is ", t[r], ", it must be above 0");
  std::array<bool, N> used;
  used.fill(true);
  time_model<N> m;
  while (true) {
    m.c = detail::fit_terms(x, t, used);
    const auto least = std::min_element(m.c.begin(), m.c.end());
    if (*least >= 0) break;
    used[static_cast<std::size_t>(least - m.c.begin())] = false;
  }
  for (std::size_t r = 0; r < x.size(); ++r) m.worst = std::max(m.worst, std::abs(m(x[r]) / t[r] - 1));
  return m;
}

}  // namespace polymoe::analysis
