// What transport plans cost: closed forms, lines by trying every set of cells, weak duality, the solvers beside each
// other through routing, bad units.
// with: transport
#include <polymoe/analysis/transport_costs.hpp>

#include "support/plan_cells.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
namespace solver = polymoe::score::solver;
namespace analysis = polymoe::analysis;
using analysis::transport_costs;
using polymoe::cpu;
using polymoe::scalar_block;

template <class Solver, bool Picked, class T = double>
struct costed : polymoe::spec {
  using scalar = T;
  using policy = score::sparse_transport<Solver>;
  using router = std::conditional_t<Picked, polymoe::expert_choice<policy>, polymoe::top_k<2, policy>>;
  using capacity = polymoe::capacity::bounded<>;
};

/// The costs of a score's plan of one group of scores.
template <class Score>
transport_costs costs_alone(const Score& s, const matrix& m, bool columns, index limit) {
  const index n = static_cast<index>(m.size()), E = static_cast<index>(m[0].size());
  plan_cells<double> c(s, m, E, columns, limit);
  s.plan_group(scalar_block{}, c.view);
  polymoe::plan_record<double> r;
  r.groups = 1, r.group_size = n, r.picked = columns, r.limit = limit;
  r.scores = c.view.scores, r.plan = c.view.plan, r.kept = c.view.kept, r.steps = &c.steps, r.bad = c.bad.data();
  return analysis::costs_of(s, r);
}

/// What the cells of a set come to at most, its threshold found by bisection.
double best_of_cells(const std::vector<double>& x, unsigned set, double sum, double gamma) {
  double low = -1e3, high = 1e3;
  const auto mass = [&](double threshold) {
    double m = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      if (set >> i & 1u) m += std::max(0.0, (x[i] - threshold) / gamma);
    return m;
  };
  for (int i = 0; i < 200; ++i) (mass((low + high) / 2) > sum ? low : high) = (low + high) / 2;
  double value = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (set >> i & 1u) {
      const double p = std::max(0.0, (x[i] - low) / gamma);
      value += p * x[i] - gamma / 2 * p * p;
    }
  return value;
}

}  // namespace

TEST_CASE("two units, two experts: the costs of the plan by hand, and no gap") {
  // P = (x, 1 - x; 1 - x, x) with a - gamma x = b - gamma (1 - x).
  const double a = 0.8, b = 0.2, gamma = 2, x = 0.5 + (a - b) / (2 * gamma);
  for (const bool columns : {true, false}) {
    score::sparse_transport<solver::newton> s;
    s.gamma = static_cast<float>(gamma), s.tolerance = 1e-12f, s.nonzeros = decltype(s)::everything;
    const transport_costs c = costs_alone(s, {{a, b}, {b, a}}, columns, 2);
    CHECK(c.groups == 1);
    CHECK(c.units == 2);
    CHECK(c.nonzeros == 2);
    CHECK(c.transport == doctest::Approx(-2 * (a * x + b * (1 - x))).epsilon(1e-12));
    CHECK(c.penalty == doctest::Approx(gamma * (x * x + (1 - x) * (1 - x))).epsilon(1e-12));
    CHECK(std::abs(c.gap()) < 1e-12);
    CHECK(c.unit_error < 1e-12);
    CHECK(c.expert_error < 1e-12);
    // One unit, one expert: it costs gamma / 2 less its score.
    const transport_costs one = costs_alone(s, {{a}}, columns, 1);
    CHECK(one.primal() == doctest::Approx(gamma / 2 - a).epsilon(1e-12));
    CHECK(one.dual == doctest::Approx(gamma / 2 - a).epsilon(1e-12));
  }
  CHECK(transport_costs{}.per_unit(3) == 0);
}

TEST_CASE("a line comes to the best of all sets of its cells") {
  for (std::uint64_t seed = 1; seed < 9; ++seed)
    for (const std::size_t k : {1u, 2u, 3u, 7u})
      for (const double sum : {0.3, 1.0, 2.5})
        for (const double gamma : {0.1, 1.0}) {
          std::vector<double> x;
          for (std::uint64_t i = 0; i < 6; ++i) x.push_back(2 * noise(seed, i) - 1);
          if (seed == 8) x[1] = x[2] = x[3] = x[0];
          double want = -1e300;
          for (unsigned set = 1; set < 64; ++set)
            if (static_cast<std::size_t>(__builtin_popcount(set)) <= k)
              want = std::max(want, best_of_cells(x, set, sum, gamma));
          CHECK(analysis::detail::best_of_line(x, k, sum, gamma) == doctest::Approx(want).epsilon(1e-9));
        }
}

TEST_CASE("without a limit: Newton's dual is the best, its gap vanishes; the gap of exact lines is what sums are off") {
  for (const bool columns : {true, false})
    for (const float gamma : {1.0f, 0.1f}) {
      const matrix m = softmax_rows(random_matrix(40, 5, 3, 21));
      const auto run = [&](auto s) {
        s.gamma = gamma, s.nonzeros = -1;
        return costs_alone(s, m, columns, 1);
      };
      score::sparse_transport<solver::newton> tight;
      tight.tolerance = 1e-12f;
      score::sparse_transport<solver::adam> longer;
      longer.iterations = 2000;
      const transport_costs newton = run(tight), lbfgs = run(score::sparse_transport<solver::lbfgs>{}),
                            adam = run(score::sparse_transport<>{}), more = run(longer);
      CAPTURE(columns);
      CAPTURE(gamma);
      CHECK(std::abs(newton.gap()) < 1e-9);
      CHECK((newton.dual >= adam.dual && newton.dual >= lbfgs.dual - 1e-12 && newton.dual >= more.dual - 1e-12));
      CHECK(newton.dual - adam.dual > 1e-6);
      CHECK(more.dual > adam.dual);
      CHECK(std::max(newton.unit_error, newton.expert_error) < 1e-10);
      CHECK((columns ? adam.unit_error : adam.expert_error) > 1e-3);
      CHECK((columns ? adam.expert_error : adam.unit_error) < 1e-12);
      CHECK(std::abs(more.gap()) < 0.1 * std::abs(adam.gap()));
    }
}

TEST_CASE("with a limit: Newton's plan is dearer than every bound, and its bound near or above the published one") {
  for (const bool clusters : {false, true})
    for (const int E : {8, 32})
      for (const double factor : {1.0, 1.25, 2.0})
        for (const float gamma : {1.0f, 0.1f}) {
          const int n = 256;
          const auto k = static_cast<index>(factor * n / E);
          const matrix m = softmax_rows(clusters ? clustered_matrix(n, E, 2, 7) : random_matrix(n, E, 2, 8));
          const auto run = [&](auto s) {
            s.gamma = gamma;
            return costs_alone(s, m, true, k);
          };
          const transport_costs newton = run(score::sparse_transport<solver::newton>{}),
                                adam = run(score::sparse_transport<>{});
          CAPTURE(clusters);
          CAPTURE(E);
          CAPTURE(factor);
          CAPTURE(gamma);
          CHECK((newton.unit_error < 1e-3 && newton.expert_error < 1e-5));
          CHECK(adam.unit_error > 0.5);
          CHECK((newton.nonzeros <= k && adam.nonzeros <= k));
          CHECK(newton.gap() >= -1e-3);
          CHECK(newton.primal() >= adam.dual - 1e-3);
          CHECK(newton.dual >= adam.dual - 2e-3 * n);
          if (factor == 1) CHECK(newton.dual > adam.dual);
        }
}

TEST_CASE_TEMPLATE("through routing: sums, steps, groups and bad units; the same solver again makes the same plans",
                   Spec, costed<solver::adam, true>, costed<solver::newton, false>,
                   costed<solver::lbfgs, true, float>) {
  using module = polymoe::routing<Spec, cpu>;
  using T = typename Spec::scalar;
  const bool exact = std::is_same_v<T, double>;
  typename module::config c;
  c.dim = 6, c.experts = 4, c.group_size = 16, c.capacity.factor = 1.5f;
  polymoe::workspace<module> w(module(c), {.max_rows = 40, .threads = 1, .seed = 2});
  tensor<T> x(40, 6);
  x.randomise(9);
  for (const index bad : {3, 16, 17, 39}) x.put(bad, 2, not_a_number);
  w.module().forward(w.ctx(), x.get(), w.saved());
  const auto& own = w.module().settings().router;
  const auto plans = w.module().plans(w.ctx(), w.saved());
  CHECK((plans.groups == 3 && plans.units() == 40 && plans.experts() == 4));
  CHECK(plans.limit == (Spec::router::k == polymoe::picked_by_experts ? 6 : 2));
  const transport_costs a = analysis::costs_of(own, plans);
  CHECK((a.groups == 3 && a.units == 36));
  CHECK(a.nonzeros <= plans.limit);
  CHECK(a.steps == plans.steps[0] + plans.steps[1] + plans.steps[2]);
  CHECK(a.steps > 0);

  double transport = 0, penalty = 0;
  for (index t = 0; t < 40; ++t)
    for (index e = 0; e < 4 && !plans.bad[t]; ++e) {
      const double p = static_cast<double>(plans.plan.get(t, e));
      transport -= p * static_cast<double>(plans.scores.get(t, e)),
          penalty += static_cast<double>(own.gamma) / 2 * p * p;
    }
  CHECK(a.transport == doctest::Approx(transport).epsilon(1e-12));
  CHECK(a.penalty == doctest::Approx(penalty).epsilon(1e-12));

  const auto all = analysis::compare_solvers(own, plans);
  REQUIRE(all.size() == 3);
  CHECK(std::string(all[0].solver) == "adam");
  CHECK(std::string(all[1].solver) == "lbfgs");
  CHECK(std::string(all[2].solver) == "newton");
  for (const auto& one : all) {
    CHECK(one.costs.units == 36);
    if (std::string(one.solver) != Spec::router::solver_name) continue;
    CHECK(one.costs.primal() == doctest::Approx(a.primal()).epsilon(exact ? 1e-9 : 1e-3));
    CHECK(one.costs.dual == doctest::Approx(a.dual).epsilon(exact ? 1e-9 : 1e-3));
    if (exact) CHECK(one.costs.steps == a.steps);
  }
  // What no plan with both sums can undercut.
  const transport_costs& newton = all[2].costs;
  CHECK(newton.unit_error < 1e-3);
  for (const auto& one : all) CHECK(newton.primal() >= one.costs.dual - 1e-3 * std::abs(newton.primal()));
}

}  // namespace moe_test
