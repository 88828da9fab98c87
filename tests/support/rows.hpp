// Rows of doubles and central differences for tests of policies, one row at a time.
#pragma once

#include "moe.hpp"

namespace moe_test {

template <class S = double, int Tier = 32>
using row_of = polymoe::row<polymoe::scalar_group, Tier, S>;

template <class S = double, int Tier = 32>
row_of<S, Tier> make_row(const std::vector<double>& x) {
  row_of<S, Tier> r;
  r.n = static_cast<int>(x.size());
  for (int e = 0; e < r.n; ++e) r.v[e] = S(static_cast<real_t<S>>(x[static_cast<std::size_t>(e)]));
  return r;
}
template <class Row>
std::vector<double> to_vector(const Row& r) {
  std::vector<double> x;
  for (int e = 0; e < r.n; ++e) x.push_back(as_double(r.v[e]));
  return x;
}
inline std::vector<double> noise_vector(std::uint64_t seed, int n, double scale = 1) {
  std::vector<double> x(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = scale * noise(seed, static_cast<std::uint64_t>(i));
  return x;
}
inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double s = 0;
  for (std::size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s;
}

/// Largest |central difference - gradient| over the elements of x, where f is a scalar function of x.
template <class F>
double gradient_error(F f, std::vector<double> x, const std::vector<double>& gradient, double h = 1e-5) {
  REQUIRE(x.size() == gradient.size());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + h;
    const double up = f(x);
    x[i] = at - h;
    const double down = f(x);
    x[i] = at;
    const double error = std::abs((up - down) / (2 * h) - gradient[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace moe_test
