// What the spectrum tools work on: a symmetric matrix known only by its products with vectors.
//
//   using real                                            float or double, the type of vectors
//   index size()                                          n
//   apply(std::span<const real> v, std::span<real> out)   out = A v
//
// Dot products and norms are summed in double, in order.
#pragma once

#include <cmath>
#include <concepts>
#include <span>
#include <vector>

#include "../core/error.hpp"
#include "../core/rng.hpp"

namespace polymoe::inline v0::analysis {

template <class A>
concept symmetric_operator = requires(A& a, std::span<const typename A::real> v, std::span<typename A::real> out) {
  { a.size() } -> std::convertible_to<index>;
  a.apply(v, out);
};

/// A symmetric matrix in memory, [n, n].
class dense_operator {
 public:
  using real = double;
  dense_operator(std::vector<double> a, index n) : a_(std::move(a)), n_(n) {
    require(n >= 0 && static_cast<index>(a_.size()) == n * n, "dense_operator: ", a_.size(), " numbers for ", n, " x ",
            n);
  }
  index size() const { return n_; }
  void apply(std::span<const double> v, std::span<double> out) const {
    for (index i = 0; i < n_; ++i) {
      double s = 0;
      for (index j = 0; j < n_; ++j) s += a_[static_cast<std::size_t>(i * n_ + j)] * v[static_cast<std::size_t>(j)];
      out[static_cast<std::size_t>(i)] = s;
    }
  }

 private:
  std::vector<double> a_;
  index n_;
};

namespace detail {

template <class R>
double dot(const std::vector<R>& a, const std::vector<R>& b) {
  double s = 0;
  for (std::size_t i = 0; i < a.size(); ++i) s += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return s;
}
template <class R>
double norm(const std::vector<R>& a) {
  return std::sqrt(dot(a, a));
}
template <class R>
void scale(std::vector<R>& a, double by) {
  for (R& x : a) x = static_cast<R>(static_cast<double>(x) * by);
}
/// a += by * b
template <class R>
void add(std::vector<R>& a, double by, const std::vector<R>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    a[i] = static_cast<R>(static_cast<double>(a[i]) + by * static_cast<double>(b[i]));
}
/// Standard normal numbers, a function of (seed, which) alone.
template <class R>
std::vector<R> normal_vector(index n, std::uint64_t seed, std::uint64_t which) {
  const random_stream draw = random_root{seed}.stream(stream_id("analysis.normal"), which);
  std::vector<R> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<R>(draw.normal(i));
  return v;
}
/// +1 and -1, likewise (Rademacher).
template <class R>
std::vector<R> sign_vector(index n, std::uint64_t seed, std::uint64_t which) {
  const random_stream draw = random_root{seed}.stream(stream_id("analysis.sign"), which);
  std::vector<R> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = draw.bits(i).a & 1 ? R(1) : R(-1);
  return v;
}
/// Takes the parts along the orthonormal `basis` out of v, twice (once loses half of the
/// digits).  Adds them to `parts`.
template <class R>
void orthogonalise(std::vector<R>& v, const std::vector<std::vector<R>>& basis, double* parts) {
  for (int pass = 0; pass < 2; ++pass)
    for (std::size_t k = 0; k < basis.size(); ++k) {
      const double h = dot(basis[k], v);
      if (parts) parts[k] += h;
      add(v, -h, basis[k]);
    }
}

}  // namespace detail
}  // namespace polymoe::analysis
