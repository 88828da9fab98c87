// Row and column sums of converged Sinkhorn plans to 1e-6, in double and float: random and clustered logits, equal and
// extreme ones, one expert, one unit, n not divisible by E; the plan is that of the log domain.
// sanitize: yes
// with: transport
#include "support/plan_cells.hpp"

namespace moe_test {
namespace {

using polymoe::scalar_block;
using score_gates = polymoe::score::sinkhorn<>;
using plan_gates = polymoe::score::sinkhorn<polymoe::score::by_plan>;

/// Scaling in the log domain and long double.
matrix scaled_by_hand(const matrix& a, int iterations) {
  const std::size_t n = a.size(), E = a[0].size();
  std::vector<long double> f(n, 0), g(E, 0);
  const auto log_sum = [](auto get, std::size_t count) {
    long double top = -1e4000L, sum = 0;
    for (std::size_t i = 0; i < count; ++i) top = std::max(top, get(i));
    for (std::size_t i = 0; i < count; ++i) sum += std::exp(get(i) - top);
    return top + std::log(sum);
  };
  const auto rows = [&] {
    for (std::size_t t = 0; t < n; ++t) f[t] = -log_sum([&](std::size_t e) { return a[t][e] + g[e]; }, E);
  };
  rows();
  for (int i = 0; i < iterations; ++i) {
    for (std::size_t e = 0; e < E; ++e)
      g[e] = std::log(static_cast<long double>(n) / static_cast<long double>(E)) -
             log_sum([&](std::size_t t) { return a[t][e] + f[t]; }, n);
    rows();
  }
  matrix p = a;
  for (std::size_t t = 0; t < n; ++t)
    for (std::size_t e = 0; e < E; ++e) p[t][e] = static_cast<double>(std::exp(a[t][e] + f[t] + g[e]));
  return p;
}
struct size {
  int n, E;
};
constexpr size sizes[] = {{1, 1}, {1, 6}, {7, 1}, {5, 8}, {32, 4}, {33, 5}, {200, 16}};

}  // namespace

TEST_CASE_TEMPLATE("both sums to 1e-6 when converged", T, double, float) {
  for (const size& at : sizes)
    for (const int kind : {0, 1, 2}) {
      matrix z = kind == 0 ? random_matrix(at.n, at.E, 3, 1) : clustered_matrix(at.n, at.E, 3, 2);
      if (kind == 2) z.assign(z.size(), std::vector<double>(static_cast<std::size_t>(at.E), -1e4));
      score_gates s;
      s.iterations = 1000, s.tolerance = std::is_same_v<T, float> ? 3e-7f : 1e-9f;
      plan_cells<T> c(s, z, at.E);
      s.plan_group(scalar_block{}, c.view);
      CAPTURE(at.n);
      CAPTURE(at.E);
      CAPTURE(kind);
      CHECK(c.row_error() < 1e-6);
      CHECK(c.column_error() < 1e-6);
      plan_gates p;
      p.iterations = 1000, p.tolerance = s.tolerance;
      plan_cells<T> d(p, z, at.E);
      p.plan_group(scalar_block{}, d.view);
      CHECK(d.row_error() < 1e-6);
      CHECK(d.column_error() < 1e-6);
      CHECK(d.steps < 1000);
    }
}

TEST_CASE_TEMPLATE("logits of +-1e4: rows to 1e-6; columns too where a plan at that scale exists", T, double, float) {
  for (const size& at : sizes) {
    score_gates s;
    s.iterations = 1000;
    plan_cells<T> c(s, random_matrix(at.n, at.E, 1e4, 3), at.E);
    s.plan_group(scalar_block{}, c.view);
    CHECK(c.row_error() < 1e-6);
    CHECK(c.plan.all_finite());
  }
  // Every unit is decided, and experts are decided for equally often: the plan is 0 and 1, at any scale.
  matrix z(32, std::vector<double>(4, -1e4));
  for (std::size_t t = 0; t < 32; ++t) z[t][t % 4] = 1e4;
  score_gates s;
  plan_cells<T> c(s, z, 4);
  s.plan_group(scalar_block{}, c.view);
  CHECK(c.row_error() < 1e-6);
  CHECK(c.column_error() < 1e-6);
  for (index t = 0; t < 32; ++t) CHECK(c.plan.at(t, t % 4) == doctest::Approx(1));
}

TEST_CASE_TEMPLATE("factors that grow beyond what products of cells can hold are taken in the log domain", Score,
                   score_gates, plan_gates) {
  // Expert 3 is behind by 60 to 200 for all units: e^-200 is no float, e^60 a factor no product should carry.
  for (const double behind : {15.0, 60.0, 200.0}) {
    matrix z = random_matrix(40, 4, 2, 4);
    for (auto& row : z) row[3] -= behind;
    Score s;
    s.iterations = 30;
    const matrix want = scaled_by_hand(z, 30);
    plan_cells<double> c(s, z, 4);
    plan_cells<float> f(s, z, 4);
    s.plan_group(scalar_block{}, c.view);
    s.plan_group(scalar_block{}, f.view);
    for (index t = 0; t < 40; ++t)
      for (index e = 0; e < 4; ++e) {
        const double w = want[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)];
        CHECK(std::abs(c.plan.at(t, e) - w) < 1e-12);
        CHECK(std::abs(f.plan.at(t, e) - w) < 3e-5);
      }
    CHECK(c.column_error() < 1e-6);
    CHECK(f.column_error() < 1e-6);
  }
}

TEST_CASE_TEMPLATE("cells that are 0 at first come to matter where others do not suffice", Score, score_gates,
                   plan_gates) {
  // Expert 3 gets 10 units; 5 are behind by 60, the others by 100, which float first holds as 0.
  matrix z = random_matrix(40, 4, 1, 5);
  for (std::size_t t = 0; t < z.size(); ++t) z[t][3] -= t < 5 ? 60 : 100;
  Score s;
  s.iterations = 120;
  const matrix want = scaled_by_hand(z, s.iterations);
  plan_cells<float> c(s, z, 4);
  s.plan_group(scalar_block{}, c.view);
  double of_others = 0;
  for (index t = 0; t < 40; ++t) {
    CHECK(std::abs(c.plan.at(t, 3) - want[static_cast<std::size_t>(t)][3]) < 1e-3);
    if (t >= 5) of_others += c.plan.at(t, 3);
  }
  CHECK(of_others > 1);
}

}  // namespace moe_test
