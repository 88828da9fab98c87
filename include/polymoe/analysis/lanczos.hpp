// The largest eigenvalues of a symmetric operator, each with a bound on its error.
//
// Lanczos with full re-orthogonalisation and thick restarts (Wu and Simon 2000): the projected matrix is kept whole, so
// a restart needs no formula of its own, and rounding cannot make copies of an eigenvalue that was already found.  A
// Ritz pair (theta, u) with residual r = |A u - theta u| has an eigenvalue within r of theta; power iteration with a
// relative tolerance (power_iteration.hpp), which the literature uses, gives no such statement.
#pragma once

#include "symmetric_eigen.hpp"
#include "symmetric_operator.hpp"

namespace polymoe::inline v0::analysis {

/// How many pairs, how exact, and what it may cost.
struct lanczos_options {
  index count = 1;          ///< how many of the largest eigenvalues
  index basis = 40;         ///< vectors kept; more memory, fewer products
  index products = 500;     ///< at most so many products with the operator
  double tolerance = 1e-4;  ///< done when every residual is at most this times the largest |eigenvalue|
  std::uint64_t seed = 0;   ///< of the start vector
};

/// An eigenvalue, how far it may be off, and its unit vector of n numbers.
template <class R>
struct eigen_pair {
  double value = 0;
  double residual = 0;  ///< an eigenvalue lies within this distance of `value`
  std::vector<R> vector{};
};

/// `converged`: every residual came below the tolerance within the products allowed.
template <class R>
struct lanczos_result {
  std::vector<eigen_pair<R>> largest;  ///< largest first
  double smallest = 0, smallest_residual = 0;  ///< the other end, as far as the same vectors saw it
  index products = 0;
  bool converged = false;
};

/// The `count` algebraically largest eigenvalues.  Equal bits for equal seeds, as far as the operator's products have.
template <symmetric_operator A>
lanczos_result<typename A::real> lanczos(A& a, const lanczos_options& o = {}) {
  using R = typename A::real;
  const index n = a.size(), count = std::min(o.count, n), most = std::min(std::max(o.basis, count + 2), n);
  require(o.count >= 1 && o.tolerance > 0 && o.products >= 1, "lanczos: count ", o.count, ", tolerance ", o.tolerance,
          ", products ", o.products, " must be positive");
  lanczos_result<R> out;
  if (n == 0) return out.converged = true, out;

  std::vector<std::vector<R>> basis;
  std::vector<double> t;  // projected matrix [most, most]
  t.assign(static_cast<std::size_t>(most * most), 0.0);
  std::uint64_t draws = 0;
  // A direction the basis does not span; empty when there is none left.
  const auto fresh = [&] {
    for (int i = 0; i < 3; ++i) {
      std::vector<R> v = detail::normal_vector<R>(n, o.seed, draws++);
      detail::scale(v, 1 / detail::norm(v));
      detail::orthogonalise(v, basis, nullptr);
      const double left = detail::norm(v);
      if (left > 1e-6) return detail::scale(v, 1 / left), v;
    }
    return std::vector<R>{};
  };
  std::vector<R> next = fresh(), product(static_cast<std::size_t>(n));
  std::vector<double> part;
  double coupling = 0;  // length of what the last product had outside of the basis
  double scale = 0;     // largest |theta| seen
  while (true) {
    // One more vector, one more column of the projected matrix.
    basis.push_back(std::move(next));
    const index j = static_cast<index>(basis.size()) - 1;
    a.apply(basis.back(), product);
    ++out.products;
    part.assign(basis.size(), 0.0);
    next = product;
    detail::orthogonalise(next, basis, part.data());
    for (index i = 0; i <= j; ++i)
      t[static_cast<std::size_t>(i * most + j)] = t[static_cast<std::size_t>(j * most + i)] =
          part[static_cast<std::size_t>(i)];
    coupling = detail::norm(next);
    require(std::isfinite(coupling), "lanczos: product ", out.products, " is not finite");

    const index m = j + 1;
    std::vector<double> small(static_cast<std::size_t>(m * m));
    for (index r = 0; r < m; ++r) std::copy_n(t.begin() + r * most, m, small.begin() + r * m);
    const eigen_system s = symmetric_eigen(small, m);
    scale = std::max(std::abs(s.values.front()), std::abs(s.values.back()));
    const auto last = [&](index i) { return std::abs(s.vectors[static_cast<std::size_t>(i * m + m - 1)]); };
    const bool whole = coupling <= 1e-12 * std::max(scale, 1e-300);  // the basis is invariant
    bool done = m >= count;
    for (index i = 0; done && i < count; ++i) done = whole || coupling * last(i) <= o.tolerance * scale;
    // An invariant subspace may miss a multiple eigenvalue: go on from another direction until the space is used up or
    // enough pairs were found twice over.
    if (whole && m < std::min(n, 2 * count + 1)) done = false;
    if (done || out.products >= o.products || m == n) {
      out.converged = done || m == n;
      for (index i = 0; i < std::min(count, m); ++i) {
        eigen_pair<R> p{s.values[static_cast<std::size_t>(i)], m == n ? 0.0 : coupling * last(i),
                        std::vector<R>(static_cast<std::size_t>(n), R(0))};
        for (index k = 0; k < m; ++k)
          detail::add(p.vector, s.vectors[static_cast<std::size_t>(i * m + k)], basis[static_cast<std::size_t>(k)]);
        out.largest.push_back(std::move(p));
      }
      out.smallest = s.values.back(), out.smallest_residual = m == n ? 0.0 : coupling * last(m - 1);
      return out;
    }
    if (whole)
      next = fresh();
    else
      detail::scale(next, 1 / coupling);
    if (m < most) continue;
    // Full: keep the best Ritz vectors; in their basis the projected matrix is diagonal, and the next product finds
    // their coupling to the next vector by itself.
    const index keep = std::min(m - 2, count + (most - count) / 2);
    std::vector<std::vector<R>> kept;
    for (index i = 0; i < keep; ++i) {
      std::vector<R> u(static_cast<std::size_t>(n), R(0));
      for (index k = 0; k < m; ++k)
        detail::add(u, s.vectors[static_cast<std::size_t>(i * m + k)], basis[static_cast<std::size_t>(k)]);
      kept.push_back(std::move(u));
    }
    basis = std::move(kept);
    detail::orthogonalise(next, basis, nullptr);
    detail::scale(next, 1 / detail::norm(next));
    std::fill(t.begin(), t.end(), 0.0);
    for (index i = 0; i < keep; ++i) t[static_cast<std::size_t>(i * most + i)] = s.values[static_cast<std::size_t>(i)];
  }
}

}  // namespace polymoe::analysis
