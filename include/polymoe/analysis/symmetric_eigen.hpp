// All eigenvalues and eigenvectors of a small symmetric matrix, by cyclic Jacobi rotations.
//
// For the projected matrices of the Lanczos tools, at most a few hundred rows: Jacobi is exact to the last digits,
// needs no library, and its cost disappears beside one Hessian-vector product.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0::analysis {

struct eigen_system {
  std::vector<double> values;   ///< largest first
  std::vector<double> vectors;  ///< [n, n]; row i belongs to values[i], of length 1
};

/// `a` is [n, n] and symmetric; its lower half is not looked at.
inline eigen_system symmetric_eigen(std::vector<double> a, index n) {
  require(n >= 0 && static_cast<index>(a.size()) == n * n, "symmetric_eigen: ", a.size(), " numbers for ", n, " x ", n);
  const auto at = [n](index i, index j) { return static_cast<std::size_t>(i * n + j); };
  std::vector<double> v(a.size(), 0.0);
  double all = 0;
  for (index i = 0; i < n; ++i) {
    v[at(i, i)] = 1;
    for (index j = i; j < n; ++j) {
      require(std::isfinite(a[at(i, j)]), "symmetric_eigen: entry ", i, ", ", j, " is not finite");
      a[at(j, i)] = a[at(i, j)];
      all += a[at(i, j)] * a[at(i, j)];
    }
  }
  for (int sweep = 0; sweep < 64; ++sweep) {
    double off = 0;
    for (index i = 0; i < n; ++i)
      for (index j = i + 1; j < n; ++j) off += a[at(i, j)] * a[at(i, j)];
    if (off <= 1e-32 * all) break;
    for (index p = 0; p < n; ++p)
      for (index q = p + 1; q < n; ++q) {
        const double apq = a[at(p, q)];
        if (apq == 0) continue;
        // The rotation that makes a[p, q] zero: t = tan of its angle, the smaller root of t^2 + 2 t theta = 1.
        const double theta = (a[at(q, q)] - a[at(p, p)]) / (2 * apq);
        const double t = (theta >= 0 ? 1.0 : -1.0) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (index k = 0; k < n; ++k) {
          const double x = a[at(k, p)], y = a[at(k, q)];
          a[at(k, p)] = c * x - s * y, a[at(k, q)] = s * x + c * y;
        }
        for (index k = 0; k < n; ++k) {
          const double x = a[at(p, k)], y = a[at(q, k)];
          a[at(p, k)] = c * x - s * y, a[at(q, k)] = s * x + c * y;
        }
        for (index k = 0; k < n; ++k) {
          const double x = v[at(p, k)], y = v[at(q, k)];
          v[at(p, k)] = c * x - s * y, v[at(q, k)] = s * x + c * y;
        }
      }
  }
  std::vector<index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), index{0});
  std::stable_sort(order.begin(), order.end(), [&](index i, index j) { return a[at(i, i)] > a[at(j, j)]; });
  eigen_system out;
  out.vectors.resize(a.size());
  for (index i = 0; i < n; ++i) {
    const index from = order[static_cast<std::size_t>(i)];
    out.values.push_back(a[at(from, from)]);
    std::copy_n(v.begin() + from * n, n, out.vectors.begin() + i * n);
  }
  return out;
}

}  // namespace polymoe::analysis
