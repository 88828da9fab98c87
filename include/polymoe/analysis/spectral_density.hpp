// The density of eigenvalues by stochastic Lanczos quadrature (Ubaru, Chen, Saad 2017; as PyHessian, Yao et al. 2020,
// arXiv 1912.07145).
//
// Each random start vector gives nodes (Ritz values) and weights (squared first components of their vectors): a
// discrete measure that integrates every polynomial of degree below twice the number of steps as the start vector's
// spectral measure does.  Averaged over start vectors it estimates the share of eigenvalues near a point.
#pragma once

#include "symmetric_eigen.hpp"
#include "symmetric_operator.hpp"

namespace polymoe::inline v0::analysis {

struct density_options {
  index probes = 4;
  index steps = 80;  ///< Lanczos steps of each, with full re-orthogonalisation
  std::uint64_t seed = 0;
};

struct spectral_measure {
  std::vector<double> nodes, weights;  ///< weights sum to 1
  double smallest() const { return *std::min_element(nodes.begin(), nodes.end()); }
  double largest() const { return *std::max_element(nodes.begin(), nodes.end()); }
  /// Mean of f over the eigenvalues.
  template <class F>
  double mean(F f) const {
    double s = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) s += weights[i] * f(nodes[i]);
    return s;
  }
  /// Density at x of the measure smoothed by a Gaussian of deviation `width`.
  double smoothed(double x, double width) const {
    return mean([=](double at) {
      const double d = (x - at) / width;
      return std::exp(-0.5 * d * d) / (width * std::sqrt(2 * 3.14159265358979323846));
    });
  }
};

template <symmetric_operator A>
spectral_measure spectral_density(A& a, const density_options& o = {}) {
  using R = typename A::real;
  const index n = a.size();
  require(o.probes >= 1 && o.steps >= 1 && n >= 1, "spectral_density: ", o.probes, " probes of ", o.steps, " steps on ",
          n, " dimensions; at least one each");
  spectral_measure out;
  std::vector<R> product(static_cast<std::size_t>(n));
  for (index p = 0; p < o.probes; ++p) {
    std::vector<std::vector<R>> basis;
    std::vector<double> diagonal, side;
    std::vector<R> v = detail::normal_vector<R>(n, o.seed, static_cast<std::uint64_t>(p));
    detail::scale(v, 1 / detail::norm(v));
    for (index j = 0; j < std::min(o.steps, n); ++j) {
      basis.push_back(v);
      a.apply(basis.back(), product);
      std::vector<double> part(basis.size(), 0.0);
      v = product;
      detail::orthogonalise(v, basis, part.data());
      diagonal.push_back(part.back());
      const double left = detail::norm(v);
      require(std::isfinite(left), "spectral_density: a product is not finite");
      side.push_back(left);
      if (left <= 1e-12 * std::abs(diagonal.front()) || left == 0) break;
      detail::scale(v, 1 / left);
    }
    const index m = static_cast<index>(diagonal.size());
    std::vector<double> t(static_cast<std::size_t>(m * m), 0.0);
    for (index i = 0; i < m; ++i) {
      t[static_cast<std::size_t>(i * m + i)] = diagonal[static_cast<std::size_t>(i)];
      if (i + 1 < m) t[static_cast<std::size_t>(i * m + i + 1)] = side[static_cast<std::size_t>(i)];
    }
    const eigen_system s = symmetric_eigen(t, m);
    for (index i = 0; i < m; ++i) {
      const double first = s.vectors[static_cast<std::size_t>(i * m)];
      out.nodes.push_back(s.values[static_cast<std::size_t>(i)]);
      out.weights.push_back(first * first / static_cast<double>(o.probes));
    }
  }
  return out;
}

}  // namespace polymoe::analysis
