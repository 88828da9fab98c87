// Eigenvalues by power iteration with deflation: the instrument of PyHessian (Yao et al. 2020, arXiv 1912.07145) and of
// paper B (arXiv 2601.15021), offered to compare with published figures.
//
// It stops when the estimate moves by less than a relative tolerance, which says nothing about its error, and reports
// the estimate before the last; it converges to the eigenvalue of largest magnitude, which may be negative.
// lanczos.hpp is the better instrument.
#pragma once

#include "lanczos.hpp"

namespace polymoe::inline v0::analysis {

/// The defaults are PyHessian's.
struct power_options {
  index count = 1;          ///< how many eigenvalues
  index iterations = 100;   ///< at most so many products per eigenvalue
  double tolerance = 1e-3;  ///< on |change| / (|estimate| + 1e-6)
  std::uint64_t seed = 0;   ///< of the start vectors
};

/// In the order in which they are found, which need not be the order of size; `residual` is |A v - value v| of the
/// vector before the last product.
template <symmetric_operator A>
std::vector<eigen_pair<typename A::real>> power_iteration(A& a, const power_options& o = {}) {
  using R = typename A::real;
  require(o.count >= 1 && o.iterations >= 1 && o.tolerance > 0, "power_iteration: count ", o.count, ", iterations ",
          o.iterations, ", tolerance ", o.tolerance, " must be positive");
  const index n = a.size();
  std::vector<std::vector<R>> found;
  std::vector<eigen_pair<R>> out;
  std::vector<R> product(static_cast<std::size_t>(n));
  for (index e = 0; e < std::min(o.count, n); ++e) {
    std::vector<R> v = detail::normal_vector<R>(n, o.seed, static_cast<std::uint64_t>(e));
    eigen_pair<R> pair;
    bool first = true;
    for (index i = 0; i < o.iterations; ++i) {
      detail::orthogonalise(v, found, nullptr);
      detail::scale(v, 1 / (detail::norm(v) + 1e-300));
      a.apply(v, product);
      const double estimate = detail::dot(product, v);
      double residual = 0;
      for (std::size_t k = 0; k < v.size(); ++k) {
        const double d = static_cast<double>(product[k]) - estimate * static_cast<double>(v[k]);
        residual += d * d;
      }
      pair.residual = std::sqrt(residual);
      v = product;
      detail::scale(v, 1 / (detail::norm(v) + 1e-6));
      if (!first && std::abs(pair.value - estimate) / (std::abs(pair.value) + 1e-6) < o.tolerance) break;
      pair.value = estimate, first = false;
    }
    detail::orthogonalise(v, found, nullptr);
    detail::scale(v, 1 / (detail::norm(v) + 1e-300));
    pair.vector = v;
    found.push_back(std::move(v));
    out.push_back(std::move(pair));
  }
  return out;
}

}  // namespace polymoe::analysis
