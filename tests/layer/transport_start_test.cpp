// Transport plans that begin with the prices of the last step: fewer steps over a sequence, and prices as state: the
// mean over groups of any number and size, taken over once per step, left alone by evaluation.
// sanitize: yes
// with: transport
#include "support/plan_cells.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
namespace solver = polymoe::score::solver;
using polymoe::cpu;
using polymoe::scalar_block;

template <class Solver, bool Picked = true, class T = double>
struct begun : polymoe::spec {
  using scalar = T;
  using policy = score::sparse_transport<Solver, score::by_score, score::start::last_step>;
  using router = std::conditional_t<Picked, polymoe::expert_choice<policy>, polymoe::top_k<2, policy>>;
  using capacity = polymoe::capacity::bounded<>;
};
template <class Spec>
using routing_of = polymoe::routing<Spec, cpu>;

/// Logits of step i of a run: they move a little from step to step, and experts differ in how much they are wanted.
matrix logits_at(int n, int E, int step) {
  matrix z = random_matrix(n, E, 1.5, static_cast<std::uint64_t>(1000 + step));
  for (auto& row : z)
    for (int e = 0; e < E; ++e) row[static_cast<std::size_t>(e)] += 1.5 * std::sin(e + 0.02 * step);
  return z;
}

}  // namespace

TEST_CASE_TEMPLATE("over a slowly changing sequence the last prices save Newton steps", T, double, float) {
  score::sparse_transport<solver::newton> s;
  for (const bool columns : {true, false})
    for (const int nonzeros : {0, -1}) {
      s.nonzeros = nonzeros;
      int cold = 0, warm = 0;
      std::vector<float> last;
      for (int step = 0; step < 12; ++step) {
        const matrix m = softmax_rows(logits_at(256, 8, step));
        plan_cells<T> a(s, m, 8, columns, columns ? 40 : 2), b(s, m, 8, columns, columns ? 40 : 2);
        s.plan_group(scalar_block{}, a.view);
        if (step > 0) b.start = last, b.view.start = b.start.data();
        s.plan_group(scalar_block{}, b.view);
        last = b.found;
        if (step > 0) cold += a.steps, warm += b.steps;
        for (auto* c : {&a, &b}) {
          CHECK(c->row_error() < 1e-3);
          CHECK(c->column_error() < 1e-3);
        }
        double mean = 0;
        for (const float p : b.found) mean += static_cast<double>(p);
        CHECK(std::abs(mean) < 1e-5);
      }
      CAPTURE(columns);
      CAPTURE(nonzeros);
      CAPTURE(cold);
      CAPTURE(warm);
      CHECK(warm < cold);
      if (nonzeros < 0) CHECK(10 * warm < 9 * cold);
    }
}

TEST_CASE("other solvers go on where they stopped") {
  for (const bool columns : {true, false}) {
    const auto error_after = [&](auto s, int calls) {
      s.nonzeros = -1;
      const matrix m = softmax_rows(logits_at(64, 4, 0));
      std::vector<float> last;
      double error = 0;
      for (int i = 0; i < calls; ++i) {
        plan_cells<double> c(s, m, 4, columns, 1);
        if (i > 0) c.start = last, c.view.start = c.start.data();
        s.plan_group(scalar_block{}, c.view);
        last = c.found, error = std::max(c.row_error(), c.column_error());
      }
      return error;
    };
    CHECK(error_after(score::sparse_transport<>{}, 5) < error_after(score::sparse_transport<>{}, 1));
    score::sparse_transport<solver::lbfgs> l;
    l.iterations = 2, l.tolerance = 0;
    CHECK(error_after(l, 5) < error_after(l, 1));
  }
}

TEST_CASE_TEMPLATE("prices are state: means over groups of any number and size", Spec, begun<solver::newton>,
                   begun<solver::newton, false>, begun<solver::adam>, begun<solver::lbfgs, false, float>) {
  using module = routing_of<Spec>;
  using T = typename Spec::scalar;
  typename module::config c;
  c.dim = 6, c.experts = 4, c.group_size = 16;
  polymoe::workspace<module> w(module(c), {.max_rows = 40, .threads = 1, .seed = 2});
  REQUIRE(w.state_entries().size() == 2);
  CHECK(w.state_entries()[0].name == "price");
  CHECK(w.state_entries()[1].name == "price_sum");
  const auto state = [&](int entry, int e) {
    return w.state()[static_cast<std::size_t>(w.state_entries()[static_cast<std::size_t>(entry)].offset + e)];
  };
  tensor<T> x(40, 6);
  x.randomise(9);
  const auto found = [&](int g, int e) { return w.saved().found[g * 4 + e]; };

  w.module().forward(w.ctx(), x.get(), w.saved());  // groups of 16, 16 and 8
  std::vector<float> sum(5, 0.0f);
  for (int g = 0; g < 3; ++g, sum[4] += 1)
    for (int e = 0; e < 4; ++e) sum[static_cast<std::size_t>(e)] += found(g, e);
  w.step().micro = 1;
  w.module().forward(w.ctx(), x.get().rows_at(0, 10), w.saved());  // one of 10
  for (int e = 0; e < 4; ++e) sum[static_cast<std::size_t>(e)] += found(0, e);
  sum[4] += 1;
  bool priced = false;
  for (int e = 0; e < 4; ++e) {
    CHECK(state(0, e) == 0);
    CHECK(state(1, e) == sum[static_cast<std::size_t>(e)]);
    priced = priced || sum[static_cast<std::size_t>(e)] != 0;
  }
  CHECK(priced);
  CHECK(state(1, 4) == 4);

  // What a refused step found is forgotten, and moves nothing.
  const auto before = w.state_on_host();
  const std::int32_t halted = 1;
  w.ctx().halted = &halted;
  w.module().commit(w.ctx());
  for (int e = 0; e < 4; ++e) CHECK(state(0, e) == 0);
  for (int e = 0; e < 5; ++e) CHECK(state(1, e) == 0);
  w.ctx().halted = nullptr;
  w.set_state(before);
  w.module().commit(w.ctx());
  for (int e = 0; e < 4; ++e) {
    CHECK(state(0, e) == sum[static_cast<std::size_t>(e)] / 4);
    CHECK(state(1, e) == 0);
  }
  CHECK(state(1, 4) == 0);

  // Evaluation begins with the prices and leaves them; so does a step in which nothing was trained.
  w.ctx().mode = polymoe::run_mode::eval;
  const auto committed = w.state_on_host();
  w.module().forward(w.ctx(), x.get(), w.saved());
  w.module().commit(w.ctx());
  CHECK(w.state_on_host() == committed);

  // A group of bad units has no prices; one beside it is counted.
  w.ctx().mode = polymoe::run_mode::train;
  for (index t = 0; t < 16; ++t) x.put(t, 0, not_a_number);
  w.module().forward(w.ctx(), x.get(), w.saved());
  CHECK(state(1, 4) == 2);
  for (int e = 0; e < 4; ++e) CHECK(state(1, e) == found(1, e) + found(2, e));
}

TEST_CASE("a layer that begins with prices plans as one that was given the same prices") {
  using module = routing_of<begun<solver::newton>>;
  typename module::config c;
  c.dim = 6, c.experts = 4;
  polymoe::workspace<module> a(module(c), {.max_rows = 40, .threads = 1, .seed = 2}),
      b(module(c), {.max_rows = 40, .threads = 2, .seed = 2});
  tensor<double> x(40, 6);
  x.randomise(9);
  for (int step = 0; step < 3; ++step) {
    a.module().forward(a.ctx(), x.get(), a.saved());
    a.module().commit(a.ctx());
  }
  b.set_state(a.state_on_host());
  a.module().forward(a.ctx(), x.get(), a.saved());
  b.module().forward(b.ctx(), x.get(), b.saved());
  for (index t = 0; t < 40; ++t)
    for (index e = 0; e < 4; ++e) CHECK(a.saved().affinity.get(t, e) == b.saved().affinity.get(t, e));
  CHECK(a.state_on_host() == b.state_on_host());
}

}  // namespace moe_test
