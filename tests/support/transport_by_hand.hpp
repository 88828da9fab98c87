// Quadratic transport on given cells, written with none of the library's code: rows and
// columns are made exact by turns.
#pragma once

#include <algorithm>
#include <functional>

#include "plan_cells.hpp"

namespace moe_test {

/// Which cells of an [n, E] plan may be used.
using cell_set = std::vector<std::vector<char>>;
inline cell_set every_cell(const matrix& s) { return cell_set(s.size(), std::vector<char>(s[0].size(), 1)); }

struct solved_cells {
  enum { found, none, unfinished } end = unfinished;  ///< none: no plan with both sums is worth more than was asked for
  double value = 0;                                   ///< <P, S> - gamma / 2 |P|^2
  matrix plan;
  double at(index t, index e) const { return plan[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)]; }
};

/// x at which the numbers max(0, v + x) have the sum `sum`.
inline double level_of(std::vector<double> v, double sum) {
  std::sort(v.begin(), v.end(), std::greater<>());
  double total = 0, x = 0;
  for (std::size_t i = 0; i < v.size(); ++i) {
    total += v[i], x = (sum - total) / static_cast<double>(i + 1);
    if (i + 1 < v.size() && v[i + 1] + x <= 0) break;
  }
  return x;
}
/// argmax <P, S> - gamma / 2 |P|^2, P >= 0 and 0 outside of `cells`, every row 1, every column n / E.  With P =
/// max(0, S + f + g) / gamma the dual is as small as it gets when sums are right; a turn solves it for all f, then for
/// all g.  The dual is above every plan's value, so the search ends as well where it comes to `beaten`, and without a
/// plan it falls for ever.
inline solved_cells solve_on(const matrix& s, const cell_set& cells, double gamma, double beaten = -1e300) {
  const std::size_t n = s.size(), E = s[0].size();
  const double share = static_cast<double>(n) / static_cast<double>(E);
  std::vector<double> f(n, 0.0), g(E, 0.0), v;
  solved_cells r;
  for (int turn = 0; turn < 100000; ++turn) {
    for (std::size_t t = 0; t < n; ++t) {
      v.clear();
      for (std::size_t e = 0; e < E; ++e)
        if (cells[t][e]) v.push_back(s[t][e] + g[e]);
      if (v.empty()) return r.end = solved_cells::none, r;
      f[t] = level_of(v, gamma);
    }
    for (std::size_t e = 0; e < E; ++e) {
      v.clear();
      for (std::size_t t = 0; t < n; ++t)
        if (cells[t][e]) v.push_back(s[t][e] + f[t]);
      if (v.empty()) return r.end = solved_cells::none, r;
      g[e] = level_of(v, gamma * share);
    }
    double dual = 0, off = 0;
    for (const double x : f) dual -= x;
    for (const double x : g) dual -= share * x;
    for (std::size_t t = 0; t < n; ++t) {
      double sum = 0;
      for (std::size_t e = 0; e < E; ++e) {
        const double p = cells[t][e] ? std::max(0.0, s[t][e] + f[t] + g[e]) / gamma : 0;
        sum += p, dual += gamma / 2 * p * p;
      }
      off = std::max(off, std::abs(sum - 1));
    }
    if (dual <= beaten) return r.end = solved_cells::none, r;
    if (off > 1e-10) continue;
    r.end = solved_cells::found, r.plan = s;
    for (std::size_t t = 0; t < n; ++t)
      for (std::size_t e = 0; e < E; ++e) {
        const double p = cells[t][e] ? std::max(0.0, s[t][e] + f[t] + g[e]) / gamma : 0;
        r.plan[t][e] = p, r.value += p * (s[t][e] - gamma / 2 * p);
      }
    break;
  }
  return r;
}

}  // namespace moe_test
