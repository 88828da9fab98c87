// The spectrum tools on matrices whose eigenvalues are known.
// sanitize: yes
// with: hessian
#include <doctest/doctest.h>

#include <polymoe/analysis/power_iteration.hpp>
#include <polymoe/analysis/spectral_density.hpp>
#include <polymoe/analysis/trace.hpp>

namespace polymoe {
namespace {

using namespace analysis;

constexpr double pi = 3.14159265358979323846;

/// Q diag(values) Q' with a random orthogonal Q.
dense_operator with_spectrum(const std::vector<double>& values, std::uint64_t seed) {
  const index n = static_cast<index>(values.size());
  std::vector<std::vector<double>> q;
  for (index i = 0; i < n; ++i) {
    auto v = analysis::detail::normal_vector<double>(n, seed, static_cast<std::uint64_t>(i));
    analysis::detail::orthogonalise(v, q, nullptr);
    analysis::detail::scale(v, 1 / analysis::detail::norm(v));
    q.push_back(v);
  }
  std::vector<double> a(static_cast<std::size_t>(n * n), 0.0);
  for (std::size_t k = 0; k < values.size(); ++k)
    for (std::size_t i = 0; i < values.size(); ++i)
      for (std::size_t j = 0; j < values.size(); ++j) a[i * values.size() + j] += values[k] * q[k][i] * q[k][j];
  return {a, n};
}
/// A float operator around a double one.
struct in_float {
  using real = float;
  dense_operator a;
  index size() const { return a.size(); }
  void apply(std::span<const float> v, std::span<float> out) const {
    const std::vector<double> x(v.begin(), v.end());
    std::vector<double> y(x.size());
    a.apply(x, y);
    for (std::size_t i = 0; i < y.size(); ++i) out[i] = static_cast<float>(y[i]);
  }
};
/// 1 / k: a slowly falling spectrum with some negative values at its end.
std::vector<double> falling(int n) {
  std::vector<double> v;
  for (int k = 1; k <= n; ++k) v.push_back(k > n - 3 ? -0.3 / (n - k + 1) : 1.0 / k);
  return v;
}

}  // namespace

TEST_CASE(
    "symmetric_eigen: the second difference matrix has eigenvalues 2 - 2 cos(k pi / (n + 1)), vectors orthonormal") {
  for (const index n : {1, 2, 3, 10, 60}) {
    std::vector<double> a(static_cast<std::size_t>(n * n), 0.0);
    for (index i = 0; i < n; ++i) {
      a[static_cast<std::size_t>(i * n + i)] = 2;
      if (i + 1 < n) a[static_cast<std::size_t>(i * n + i + 1)] = -1;
    }
    const auto s = symmetric_eigen(a, n);
    for (index k = 0; k < n; ++k) {
      CHECK(s.values[static_cast<std::size_t>(k)] ==
            doctest::Approx(2 - 2 * std::cos(static_cast<double>(n - k) * pi / static_cast<double>(n + 1)))
                .epsilon(1e-13));
      for (index l = 0; l < n; ++l) {
        double dot = 0;
        for (index i = 0; i < n; ++i)
          dot += s.vectors[static_cast<std::size_t>(k * n + i)] * s.vectors[static_cast<std::size_t>(l * n + i)];
        CHECK(std::abs(dot - (k == l)) < 1e-12);
      }
    }
  }
  CHECK(symmetric_eigen({}, 0).values.empty());
  CHECK(symmetric_eigen({0, 0, 0, 0}, 2).values == std::vector<double>{0, 0});
  CHECK_THROWS_AS(symmetric_eigen({1, std::nan(""), 0, 1}, 2), error);
}

TEST_CASE("lanczos finds the largest eigenvalues within its own bounds, with and without restarts") {
  const auto values = falling(200);
  for (const index basis : {8, 40, 200})
    for (const double tolerance : {1e-2, 1e-10}) {
      auto a = with_spectrum(values, 1);
      const auto r = lanczos(a, {.count = 5, .basis = basis, .products = 2000, .tolerance = tolerance});
      REQUIRE(r.converged);
      REQUIRE(r.largest.size() == 5);
      for (std::size_t i = 0; i < 5; ++i) {
        CHECK(std::abs(r.largest[i].value - values[i]) <= r.largest[i].residual + 1e-12);
        CHECK(r.largest[i].residual <= tolerance);
        std::vector<double> av(200);
        a.apply(r.largest[i].vector, av);
        double residual = 0;
        for (std::size_t k = 0; k < 200; ++k)
          residual += std::pow(av[k] - r.largest[i].value * r.largest[i].vector[k], 2);
        CHECK(std::sqrt(residual) == doctest::Approx(r.largest[i].residual).epsilon(1e-3).scale(1e-9));
        CHECK(analysis::detail::norm(r.largest[i].vector) == doctest::Approx(1).epsilon(1e-10));
      }
      if (tolerance < 1e-9)
        for (std::size_t i = 0; i < 5; ++i) CHECK(r.largest[i].value == doctest::Approx(values[i]).epsilon(1e-12));
    }
}

TEST_CASE("lanczos sees the negative end too, stops at its budget, and needs no more products than dimensions") {
  auto a = with_spectrum(falling(60), 2);
  const auto all = lanczos(a, {.count = 60, .basis = 60, .tolerance = 1e-14});
  CHECK(all.converged);
  CHECK(all.products == 60);
  CHECK(all.smallest == doctest::Approx(-0.3).epsilon(1e-12));
  const auto few = lanczos(a, {.count = 3, .basis = 40, .products = 4, .tolerance = 1e-12});
  CHECK_FALSE(few.converged);
  CHECK(few.products == 4);
  CHECK(few.largest.size() == 3);
  CHECK(few.largest[0].residual > 1e-6);
}

TEST_CASE("lanczos where the space is used up early: zero, identity, rank one, one dimension") {
  auto zero = dense_operator(std::vector<double>(25, 0.0), 5);
  const auto z = lanczos(zero, {.count = 2});
  CHECK(z.converged);
  CHECK(z.largest[0].value == 0);
  auto same = with_spectrum(std::vector<double>(6, 3.0), 3);
  const auto s = lanczos(same, {.count = 3});
  CHECK(s.converged);
  for (const auto& p : s.largest) CHECK(p.value == doctest::Approx(3).epsilon(1e-12));
  auto one = with_spectrum({7, 0, 0, 0, 0, 0, 0, 0}, 4);
  const auto o = lanczos(one, {.count = 2});
  CHECK(o.converged);
  CHECK(o.largest[0].value == doctest::Approx(7).epsilon(1e-12));
  CHECK(std::abs(o.largest[1].value) < 1e-12);
  auto tiny = dense_operator({-4}, 1);
  CHECK(lanczos(tiny, {.count = 3}).largest.size() == 1);
  CHECK(lanczos(tiny).largest[0].value == doctest::Approx(-4));
  auto bad = dense_operator({std::nan("")}, 1);
  CHECK_THROWS_AS(lanczos(bad), error);
}

TEST_CASE("lanczos in float reaches float's accuracy and repeats bit for bit") {
  in_float a{with_spectrum(falling(100), 5)};
  const auto r = lanczos(a, {.count = 3, .tolerance = 1e-5, .seed = 9}),
             again = lanczos(a, {.count = 3, .tolerance = 1e-5, .seed = 9});
  REQUIRE(r.converged);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(r.largest[i].value == doctest::Approx(falling(100)[i]).epsilon(1e-5));
    CHECK(r.largest[i].value == again.largest[i].value);
    CHECK(r.largest[i].vector == again.largest[i].vector);
  }
}

TEST_CASE("power iteration stops early where eigenvalues lie close, and finds magnitude, not size") {
  auto close_by = with_spectrum({1.0, 0.99, 0.98, 0.5, 0.1, 0.05, 0.02, 0.01}, 6);
  const auto p = power_iteration(close_by, {.count = 1});
  CHECK(std::abs(p[0].value - 1) > 1e-5);  // the paper's tolerance
  CHECK(std::abs(p[0].value - 1) < 0.05);
  CHECK(lanczos(close_by, {.tolerance = 1e-10}).largest[0].value == doctest::Approx(1).epsilon(1e-12));
  const auto exact = power_iteration(close_by, {.count = 3, .iterations = 20000, .tolerance = 1e-14});
  CHECK(exact[0].value == doctest::Approx(1).epsilon(1e-6));
  CHECK(exact[1].value == doctest::Approx(0.99).epsilon(1e-6));
  CHECK(exact[2].value == doctest::Approx(0.98).epsilon(1e-6));
  auto negative = with_spectrum({1, 0.5, -3}, 7);
  CHECK(power_iteration(negative, {.iterations = 1000, .tolerance = 1e-12})[0].value ==
        doctest::Approx(-3).epsilon(1e-6));
}

TEST_CASE("the trace lies within three standard errors; diagonal matrices have none; PyHessian's rule stops early") {
  const auto values = falling(150);
  double exact = 0;
  for (const double v : values) exact += v;
  auto a = with_spectrum(values, 8);
  const auto t = trace(a, {.probes = 200});
  CHECK(t.probes.size() == 200);
  CHECK(std::abs(t.mean - exact) < 3 * t.standard_error);
  CHECK(t.standard_error > 0);
  CHECK(t.standard_error < 0.1 * exact);
  CHECK(trace(a, {.probes = 200, .stop_when_still = 1e-2}).probes.size() < 200);
  auto diagonal = dense_operator({2, 0, 0, 0, -5, 0, 0, 0, 4}, 3);
  const auto d = trace(diagonal, {.probes = 5});
  CHECK(d.mean == 1);
  CHECK(d.standard_error == 0);
  CHECK(std::isinf(trace(diagonal, {.probes = 1}).standard_error));
}

TEST_CASE("the spectral measure of one start vector integrates low powers, and its mean over many is the density") {
  const auto values = falling(40);
  auto a = with_spectrum(values, 10);
  // With as many steps as dimensions the nodes are the eigenvalues.
  const auto whole = spectral_density(a, {.probes = 1, .steps = 40});
  REQUIRE(whole.nodes.size() == 40);
  auto sorted = values;
  std::sort(sorted.rbegin(), sorted.rend());
  for (std::size_t i = 0; i < 40; ++i) CHECK(std::abs(whole.nodes[i] - sorted[i]) < 1e-10);
  CHECK(whole.mean([](double) { return 1.0; }) == doctest::Approx(1).epsilon(1e-12));
  // Few steps: the moments v' A^k v / v' v up to degree 2 steps - 1 are those of the start vector, exactly.
  const auto few = spectral_density(a, {.probes = 1, .steps = 6});
  for (int k = 1; k <= 11; ++k)
    CHECK(few.mean([=](double x) { return std::pow(x, k); }) ==
          doctest::Approx(whole.mean([=](double x) { return std::pow(x, k); })).epsilon(1e-8));
  const auto many = spectral_density(a, {.probes = 400, .steps = 10});
  double mean = 0;
  for (const double v : values) mean += v / 40;
  CHECK(many.mean([](double x) { return x; }) == doctest::Approx(mean).epsilon(0.1));
  CHECK(many.largest() <= 1 + 1e-9);
  CHECK(many.smallest() >= -0.3 - 1e-9);
  double area = 0;
  for (double x = -2; x < 3; x += 0.01) area += 0.01 * many.smoothed(x, 0.05);
  CHECK(area == doctest::Approx(1).epsilon(1e-6));
}

}  // namespace polymoe
