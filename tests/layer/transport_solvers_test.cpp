// Solvers of sparse transport: both sums and the number of non-zeros of converged plans, in every corner; the objective
// beside the published iterations; the unconstrained plan's optimality; the gradient through the plan.
// sanitize: yes
// with: transport
#include "support/plan_cells.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
namespace solver = polymoe::score::solver;
using polymoe::cpu;
using polymoe::layer;
using polymoe::scalar_block;
using adam = score::sparse_transport<>;
using lbfgs = score::sparse_transport<solver::lbfgs>;
using newton = score::sparse_transport<solver::newton>;
using newton_plan = score::sparse_transport<solver::newton, score::by_plan>;

template <class Score, class T = double>
struct solver_picked : polymoe::spec {
  using scalar = T;
  using router = polymoe::expert_choice<Score>;
  using capacity = polymoe::capacity::bounded<>;
};
template <class Score, class T = double>
struct solver_chosen : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<2, Score>;
  using capacity = polymoe::capacity::bounded<>;
};
template <class Layer>
typename Layer::config solver_config(int experts, double factor, index group) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 3, c.experts = experts, c.group_size = group;
  c.capacity.factor = static_cast<float>(factor);
  if constexpr (requires { c.router.tolerance; }) c.router.tolerance = 1e-12f;
  return c;
}

/// What a line can contribute at most for the potentials x, with k non-zeros and sum b: by sorting, in long double.
long double best_line(std::vector<double> x, int k, double b, double gamma) {
  std::sort(x.begin(), x.end(), std::greater<>());
  x.resize(std::min<std::size_t>(x.size(), static_cast<std::size_t>(k)));
  long double sum = 0, threshold = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += x[i];
    const long double at = (sum - gamma * b) / static_cast<long double>(i + 1);
    if (x[i] > at) threshold = at;
  }
  long double value = 0;
  for (const double v : x) {
    const long double p = std::max(0.0L, (v - threshold) / gamma);
    value += p * v - static_cast<long double>(gamma) / 2 * p * p;
  }
  return value;
}
struct quality {
  double primal = 0, dual = 0;
};
/// <P, S> - gamma / 2 |P|^2, and the semi-dual at the potentials the solver left.
template <class Cells>
quality quality_of(const Cells& c, bool columns, int k, double gamma) {
  quality q;
  const index n = c.plan.rows, E = c.plan.cols, lines = columns ? E : n, length = columns ? n : E;
  const double share = static_cast<double>(n) / static_cast<double>(E);
  long double dual = 0;
  for (index line = 0; line < lines; ++line) {
    std::vector<double> x;
    for (index i = 0; i < length; ++i)
      x.push_back(c.kept.at(0, i) + (columns ? c.scores.at(i, line) : c.scores.at(line, i)));
    dual += best_line(x, k, columns ? share : 1, gamma);
  }
  for (index i = 0; i < length; ++i) dual -= (columns ? 1 : share) * c.kept.at(0, i);
  q.primal = c.value(gamma);
  q.dual = static_cast<double>(dual);
  return q;
}
/// Of a unit of mass that is off.  Scores lie in [0, 1]; both plans would be worth the same at 0.198 in one of the
/// groups below, at less in the others.
constexpr double price = 0.25;

struct corner {
  int n, E, k;
};

}  // namespace

TEST_CASE_TEMPLATE("Newton: both sums to 1e-3, at most k non-zeros; random, clustered, extreme and equal logits", T,
                   double, float) {
  for (const corner& at : {corner{32, 4, 8}, corner{32, 4, 10}, corner{32, 4, 16}, corner{96, 8, 12}, corner{96, 8, 15},
                           corner{96, 8, 24}, corner{23, 4, 8}, corner{50, 8, 9}, corner{200, 32, 8}, corner{1, 4, 1},
                           corner{1, 1, 1}, corner{9, 1, 9}, corner{5, 5, 1}, corner{5, 5, 2}})
    for (const int kind : {0, 1, 2, 3})
      for (const float gamma : {1.0f, 0.05f}) {
        const double scale = kind == 2 ? 1e4 : 2;
        matrix z = kind == 1 ? clustered_matrix(at.n, at.E, scale, 3) : random_matrix(at.n, at.E, scale, 4);
        if (kind == 3) z.assign(z.size(), std::vector<double>(static_cast<std::size_t>(at.E), 1e4));
        newton s;
        s.gamma = gamma;
        plan_cells<T> c(s, softmax_rows(z), at.E, true, at.k);
        s.plan_group(scalar_block{}, c.view);
        CAPTURE(at.n);
        CAPTURE(at.E);
        CAPTURE(at.k);
        CAPTURE(kind);
        CAPTURE(gamma);
        CHECK(c.row_error() < 1e-3);
        CHECK(c.column_error() < 1e-5);
        CHECK(c.most_in(true) <= at.k);
        CHECK(*std::min_element(c.plan.plane[0].begin(), c.plan.plane[0].end()) >= 0);
        for (const int K : {1, 2, 3}) {
          if (K > at.E || (K == 1 && at.n % at.E != 0)) continue;
          if (at.n == 1 && K < at.E) continue;  // one unit cannot serve more experts than it may use
          plan_cells<T> d(s, softmax_rows(z), at.E, false, K);
          s.plan_group(scalar_block{}, d.view);
          CAPTURE(K);
          CHECK(d.row_error() < 1e-5);
          CHECK(d.column_error() < 1e-3);
          CHECK(d.most_in(false) <= K);
        }
      }
}

TEST_CASE("where no plan has both sums, lines are exact and nothing is worse than off") {
  for (const corner& at : {corner{7, 3, 2}, corner{16, 3, 1}, corner{5, 3, 2}, corner{3, 8, 1}}) {
    newton s;
    plan_cells<double> c(s, softmax_rows(random_matrix(at.n, at.E, 2, 5)), at.E, true, at.k);
    s.plan_group(scalar_block{}, c.view);
    CHECK(c.column_error() < 1e-12);
    CHECK(c.most_in(true) <= at.k);
    CHECK(c.plan.all_finite());
    CHECK(c.steps <= 2 * s.iterations);
  }
  for (const corner& at : {corner{7, 3, 1}, corner{2, 5, 2}, corner{3, 5, 2}, corner{3, 8, 2}, corner{1, 4, 3}}) {
    plan_cells<double> d(newton{}, softmax_rows(random_matrix(at.n, at.E, 2, 5)), at.E, false, at.k);
    newton{}.plan_group(scalar_block{}, d.view);
    CAPTURE(at.n);
    CAPTURE(at.E);
    CHECK(d.row_error() < 1e-12);
    CHECK(d.most_in(false) <= at.k);
    CHECK(d.plan.all_finite());
  }
}

TEST_CASE("fewer units than experts: as many experts a unit as a plan with both sums takes") {
  for (const corner& at : {corner{2, 4, 2}, corner{2, 5, 3}, corner{3, 5, 3}, corner{5, 8, 3}, corner{1, 4, 4}})
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      newton s;
      plan_cells<double> d(s, softmax_rows(random_matrix(at.n, at.E, 2, seed)), at.E, false, at.k);
      s.plan_group(scalar_block{}, d.view);
      CAPTURE(at.n);
      CAPTURE(at.E);
      CHECK(d.row_error() < 1e-5);
      CHECK(d.column_error() < 1e-3);
      CHECK(d.most_in(false) <= at.k);
    }
}

TEST_CASE("without a limit: the optimum, no gap between primal and dual; L-BFGS comes to it, Adam slower") {
  for (const bool columns : {true, false})
    for (const float gamma : {1.0f, 0.1f}) {
      const matrix s = softmax_rows(random_matrix(48, 6, 3, 6));
      const auto run = [&]<class Score>(Score o, index nonzeros = Score::everything) {
        o.nonzeros = nonzeros, o.gamma = gamma;
        auto c = std::make_unique<plan_cells<double>>(o, s, 6, columns, 1);
        o.plan_group(scalar_block{}, c->view);
        return c;
      };
      newton n;
      n.tolerance = 1e-12f;
      const auto best = run(n);
      const quality q = quality_of(*best, columns, 48, static_cast<double>(gamma));
      CHECK(best->row_error() < 1e-10);
      CHECK(best->column_error() < 1e-10);
      CHECK(std::abs(q.dual - q.primal) < 1e-9);
      CHECK(best->steps < 15);
      lbfgs l;
      l.iterations = 200, l.tolerance = 1e-6f;
      const auto quasi = run(l);
      CHECK(quasi->row_error() < 1e-4);
      CHECK(quality_of(*quasi, columns, 48, static_cast<double>(gamma)).dual == doctest::Approx(q.dual).epsilon(1e-6));
      CHECK(quasi->steps < 200);
      const auto published = run(adam{});
      CHECK(quality_of(*published, columns, 48, static_cast<double>(gamma)).dual > q.dual);
      CHECK(std::max(published->row_error(), published->column_error()) > 1e-3);
      // As many non-zeros as a line has places are no limit.
      const index length = columns ? 48 : 6;
      CHECK(run(n, length)->plan.same_bits(best->plan));
      CHECK(run(l, length)->plan.same_bits(quasi->plan));
      CHECK(run(adam{}, length)->plan.same_bits(published->plan));
      double worst = 0;
      for (index t = 0; t < 48; ++t)
        for (index e = 0; e < 6; ++e) worst = std::max(worst, std::abs(best->plan.at(t, e) - quasi->plan.at(t, e)));
      CHECK(worst < 1e-3);
    }
}

TEST_CASE(
    "with a limit: the published plan is worse where mass that is off costs a quarter, and misses its sums by far") {
  for (const bool columns : {true, false})
    for (const bool clusters : {false, true})
      for (const int E : {8, 32})
        for (const double factor : {1.0, 1.25, 2.0}) {
          const int n = 256, k = columns ? static_cast<int>(std::ceil(factor * n / E)) : factor > 1.5 ? 2 : 1;
          const matrix z = clusters ? clustered_matrix(n, E, 2, 7) : random_matrix(n, E, 2, 8);
          const auto run = [&]<class Score>(Score o) {
            auto c = std::make_unique<plan_cells<double>>(o, softmax_rows(z), E, columns, k);
            o.plan_group(scalar_block{}, c->view);
            return c;
          };
          const auto ours = run(newton{}), theirs = run(adam{});
          const quality q = quality_of(*ours, columns, k, 1), p = quality_of(*theirs, columns, k, 1);
          CAPTURE(columns);
          CAPTURE(clusters);
          CAPTURE(E);
          CAPTURE(k);
          CHECK(ours->objective(1, price) > theirs->objective(1, price));
          CHECK(std::max(ours->row_error(), ours->column_error()) < 1e-3);
          CHECK(std::max(theirs->row_error(), theirs->column_error()) > 1e-2);
          // Both leave upper bounds of what any plan reaches; with one expert for each unit ours is tight.
          CHECK((q.primal <= q.dual + 1e-3 && q.primal <= p.dual + 1e-3));
          if (k * E == n) CHECK(q.dual - q.primal < 0.02 * n);
        }
}

TEST_CASE("L-BFGS with a limit: lines exact, few non-zeros, a better dual than where it began") {
  for (const bool columns : {true, false}) {
    lbfgs s;
    const matrix m = softmax_rows(random_matrix(60, 6, 3, 9));
    plan_cells<double> c(s, m, 6, columns, columns ? 12 : 2);
    s.plan_group(scalar_block{}, c.view);
    CHECK((columns ? c.column_error() : c.row_error()) < 1e-12);
    CHECK(c.most_in(columns) <= (columns ? 12 : 2));
    s.iterations = 0;
    plan_cells<double> first(s, m, 6, columns, columns ? 12 : 2);
    s.plan_group(scalar_block{}, first.view);
    CHECK(first.steps == 0);
    CHECK(quality_of(c, columns, columns ? 12 : 2, 1).dual < quality_of(first, columns, columns ? 12 : 2, 1).dual);
  }
}

TEST_CASE("bad units are as if they were not there, for every solver") {
  const auto check = [](auto o, bool columns) {
    matrix s = softmax_rows(random_matrix(18, 3, 2, 10));
    plan_cells<double> with(o, s, 3, columns, columns ? 6 : 2);
    with.bad[1] = with.bad[4] = with.bad[9] = 1;
    for (const index t : {1, 4, 9}) with.scores.put(t, 0, not_a_number);
    o.plan_group(scalar_block{}, with.view);
    for (const int t : {9, 4, 1}) s.erase(s.begin() + t);
    plan_cells<double> without(o, s, 3, columns, columns ? 6 : 2);
    o.plan_group(scalar_block{}, without.view);
    for (int t = 0, u = 0; t < 18; ++t) {
      const bool bad = with.bad[static_cast<std::size_t>(t)];
      for (int e = 0; e < 3; ++e)
        CHECK(with.plan.at(t, e) == (bad ? 0.0 : doctest::Approx(without.plan.at(u, e)).epsilon(1e-9)));
      u += !bad;
    }
    std::fill(with.bad.begin(), with.bad.end(), 1);
    o.plan_group(scalar_block{}, with.view);
    for (int t = 0; t < 18; ++t) CHECK(with.row_sum(t) == 0);
  };
  for (const bool columns : {true, false}) check(lbfgs{}, columns), check(newton{}, columns);
}

TEST_CASE("the gradient through the plan on its cells, against differences; tangents of dual numbers") {
  for (const bool columns : {true, false})
    for (const int k : {2, 3, -1})
      for (const float gamma : {1.0f, 0.2f}) {
        const int n = 9, E = 4;
        newton_plan s;
        s.tolerance = 1e-12f, s.gamma = gamma;
        s.nonzeros = k < 0 ? newton_plan::everything : columns ? k + 1 : k;
        const matrix z = random_matrix(n, E, 2, 11);
        tensor<double> d(n, E);
        d.randomise(12);
        plan_cells<double> c(s, softmax_rows(z), E, columns, 1);
        s.plan_group(scalar_block{}, c.view);
        REQUIRE((c.row_error() < 1e-9 && c.column_error() < 1e-9));
        c.d_plan = d, c.view.d_plan = c.d_plan.get();
        s.plan_group_vjp(scalar_block{}, c.view);
        int checked = 0;
        for (index t = 0; t < n; ++t)
          for (index e = 0; e < E; ++e) {
            bool same = true;
            const auto value = [&](double step) {
              matrix moved = z;
              moved[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)] += step;
              plan_cells<double> m(s, softmax_rows(moved), E, columns, 1);
              s.plan_group(scalar_block{}, m.view);
              double sum = 0;
              for (index i = 0; i < n; ++i)
                for (index j = 0; j < E; ++j) {
                  same = same && (m.plan.at(i, j) > 0) == (c.plan.at(i, j) > 0);
                  sum += m.plan.at(i, j) * d.at(i, j);
                }
              return sum;
            };
            const double want = (value(1e-5) - value(-1e-5)) / 2e-5;
            if (!same) continue;
            ++checked;
            CHECK(std::abs(c.d_plan.at(t, e) - want) < 1e-6 * std::max(1.0, std::abs(want)));
          }
        CHECK(checked > 30);

        using dual = polymoe::dual<double>;
        plan_cells<dual> follows(s, softmax_rows(z), E, columns, 1);
        const matrix soft = softmax_rows(z);
        for (index t = 0; t < n; ++t)
          for (index e = 0; e < E; ++e) follows.scores.put(t, e, noise(13, static_cast<std::uint64_t>(t * E + e)), 1);
        s.plan_group(scalar_block{}, follows.view);
        const auto moved = [&](double step) {
          matrix m = soft;
          for (std::size_t t = 0; t < m.size(); ++t)
            for (std::size_t e = 0; e < m[t].size(); ++e) m[t][e] += step * noise(13, t * m[t].size() + e);
          auto p = std::make_unique<plan_cells<double>>(s, m, E, columns, 1);
          s.plan_group(scalar_block{}, p->view);
          return p;
        };
        const auto up = moved(1e-6), down = moved(-1e-6);
        for (index t = 0; t < n; ++t)
          for (index e = 0; e < E; ++e)
            CHECK(std::abs(follows.plan.at(t, e, 1) - (up->plan.at(t, e) - down->plan.at(t, e)) / 2e-6) < 1e-5);
      }
}

TEST_CASE_TEMPLATE("layers with gates of the plan: every gradient", Layer, layer<solver_picked<newton_plan>, cpu>,
                   layer<solver_chosen<newton_plan>, cpu>) {
  layer_case<Layer> c(solver_config<Layer>(4, 1.5, 8), 24, 4);
  c.w.step().temperature = 0.7f;
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.checked > 180);
  CHECK(r.flipped < r.checked / 10);
  CHECK(polymoe::plan_violation(c.plan()) == "");
}

TEST_CASE_TEMPLATE("same bits for any number of threads", Layer, layer<solver_picked<newton_plan, float>, cpu>,
                   layer<solver_chosen<newton_plan>, cpu>) {
  same_bits_everywhere<Layer>(solver_config<Layer>(6, 1.5, 50), 230);
}

TEST_CASE("dual layers choose as plain ones") {
  using dual_layer = layer<solver_picked<newton_plan, polymoe::dual<double>>, cpu>;
  using plain_layer = layer<solver_picked<newton_plan>, cpu>;
  tangents_follow<dual_layer, plain_layer>(solver_config<dual_layer>(3, 1.0, 9), solver_config<plain_layer>(3, 1.0, 9),
                                           18);
  const auto refused = [](auto s, const char* text) {
    s.tolerance = -1;
    CHECK(refuses([&] { s.validate(); }, {"tolerance is -1"}));
    s.tolerance = 0, s.iterations = -1;
    CHECK(refuses([&] { s.validate(); }, {text}));
  };
  refused(lbfgs{}, "iterations is -1"), refused(newton{}, "iterations is -1");
}

}  // namespace moe_test
