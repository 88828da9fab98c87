// ReLU routing: every expert with a positive score.  Plan and gates by hand, gradients with the L1 loss, its
// coefficient over commits, drops at a capacity, units with no expert.  And routing by table and by hash.
// sanitize: yes
// with: scores
#include <limits>

#include "support/close_to.hpp"
#include "support/column_layer.hpp"

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
using polymoe::cpu;
using polymoe::layer;

template <class T = double>
struct relu_moe : polymoe::spec {
  using scalar = T;
  using router = polymoe::positive<>;
  using balance = polymoe::balance::sum<polymoe::balance::relu_l1, polymoe::balance::z_loss>;
};
struct relu_bounded : relu_moe<> {
  using capacity = polymoe::capacity::bounded<>;
};
struct by_table : polymoe::spec {
  using scalar = double;
  using router = polymoe::fixed<>;
  using capacity = polymoe::capacity::bounded<>;
};
struct by_table_softmax : polymoe::spec {
  using scalar = double;
  using router = polymoe::fixed<polymoe::score::softmax>;
};
struct by_hash : polymoe::spec {
  using scalar = double;
  using router = polymoe::hashed<>;
};
/// Every cell that a transport plan uses, as far as there is room; its softmax scores are all above 0.
struct plan_bounded : polymoe::spec {
  using scalar = double;
  using router = polymoe::positive<polymoe::score::sparse_transport<polymoe::score::solver::newton>>;
  using capacity = polymoe::capacity::bounded<>;
};
template <class Router>
struct validated : polymoe::spec {
  using scalar = double;
  using router = Router;
};
using relu_layer = layer<relu_moe<>, cpu>;
using bounded_layer = layer<relu_bounded, cpu>;
using table_layer = layer<by_table, cpu>;
using soft_table_layer = layer<by_table_softmax, cpu>;
using hash_layer = layer<by_hash, cpu>;

template <class Layer = relu_layer>
typename Layer::config config_of(int experts, index group = 0) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 4, c.experts = experts, c.group_size = group;
  return c;
}
template <class Case>
matrix relu_gates(Case& c) {
  matrix gate = logits_of(c);
  for (auto& row : gate)
    for (double& x : row) x = x > 0 ? x : not_a_number;
  return gate;
}

}  // namespace

TEST_CASE("ReLU routing: a unit uses the experts with a positive score, by hand") {
  for (const int E : {1, 3, 8, 33})
    for (const index group : {index{0}, index{9}}) {
      layer_case<relu_layer> c(config_of(E, group), 26, static_cast<std::uint64_t>(E), 2);
      c.forward();
      CHECK(polymoe::plan_violation(c.plan()) == "");
      const matrix gate = relu_gates(c);
      check_lists(c, gate);
      reference r;
      r.dim = 5, r.hidden = 4, r.experts = E, r.out = 5;
      CHECK(gated_sum_error(c, r, gate) < 1e-11);
      CHECK(dense_expansion_error(c, r) < 1e-11);
      index active = 0;
      for (const auto& row : gate)
        for (const double x : row) active += !std::isnan(x);
      CHECK((c.stats().choices == active && c.stats().placed == active && c.stats().drop_rate() == 0));
      CHECK(c.stats().experts_per_unit() == doctest::Approx(static_cast<double>(active) / 26));
    }
}

TEST_CASE("ReLU routing with its L1 loss: the value by hand, every gradient") {
  auto config = config_of(5, 9);
  config.balance.get<balance::relu_l1>().first = 0.75f, config.balance.get<balance::relu_l1>().target = 2;
  config.balance.get<balance::relu_l1>().weight = 8, config.balance.get<balance::z_loss>().weight = 0;
  layer_case<relu_layer> c(config, 23, 3);
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 10);
  const matrix gate = relu_gates(c);
  double want = 0;
  for (int t0 = 0; t0 < 23; t0 += 9) {
    const int n = std::min(9, 23 - t0);
    for (int e = 0; e < 5; ++e) {
      double f = 0, p = 0;
      for (int t = t0; t < t0 + n; ++t)
        if (!std::isnan(gate[t][e])) f += 1.0 / n, p += gate[t][e] / n;
      want += 5.0 / 2 * f * p / 3;
    }
  }
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) == doctest::Approx(8 * 0.75 * want).epsilon(1e-12));
}

TEST_CASE("the coefficient rises while too many experts are used and falls otherwise; evaluation leaves it alone") {
  layer_case<relu_layer> c(config_of(8), 40, 4);
  auto& module = c.w.module();
  const auto coefficient = [&] { return c.w.state()[0]; };
  CHECK(coefficient() == 1e-8f);
  module.commit(c.w.ctx());  // nothing seen
  CHECK(coefficient() == 1e-8f);
  c.forward(), c.forward();
  REQUIRE(c.stats().experts_per_unit() > 2);
  CHECK(coefficient() == 1e-8f);  // a forward only counts
  module.commit(c.w.ctx());
  CHECK(coefficient() == close_to(1.2e-8, 1e-6));
  const float risen = coefficient();
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.forward();
  module.commit(c.w.ctx());
  CHECK(coefficient() == risen);
  c.w.ctx().mode = polymoe::run_mode::train;
  module.router().settings().balance.get<balance::relu_l1>().target = 7;
  c.forward();
  module.commit(c.w.ctx());
  CHECK(coefficient() == close_to(1e-8, 1e-6));
}

TEST_CASE("balance losses refuse weights and settings that make no sense, with the number") {
  const auto says = [](auto change, const char* text) {
    auto c = config_of(4);
    change(c.balance.get<balance::relu_l1>(), c.balance.get<balance::z_loss>());
    CHECK_THROWS_WITH_AS(relu_layer{c}, text, polymoe::error);
  };
  says([](auto& l1, auto&) { l1.target = 0; }, "relu_l1: target is 0 experts a unit, it must be positive");
  says([](auto& l1, auto&) { l1.first = -1; }, "relu_l1: the first coefficient is -1, it must be positive");
  says([](auto& l1, auto&) { l1.step = 0.5f; }, "relu_l1: step is 0.5, it must be at least 1: it multiplies");
  says([](auto&, auto& z) { z.weight = std::numeric_limits<float>::infinity(); },
       "balance: the weight of z is inf, it must be finite");
}

TEST_CASE("a unit without a positive score gives zero; at a capacity the lowest are dropped") {
  layer_case<bounded_layer> c(config_of<bounded_layer>(4), 24, 5);
  c.w.module().router().settings().capacity.factor = 0.8f;  // C = 5
  for (index j = 0; j < 5; ++j) c.x.put(7, j, 0);
  c.forward();
  CHECK(polymoe::plan_violation(c.plan()) == "");
  CHECK(c.plan().choices(7) == 0);
  for (index j = 0; j < 5; ++j) CHECK(c.y.at(7, j) == 0);
  const matrix z = logits_of(c);
  matrix gate(24, std::vector<double>(4, not_a_number));
  index wished = 0, placed = 0;
  for (int e = 0; e < 4; ++e) {
    std::vector<double> column;
    for (int t = 0; t < 24; ++t) column.push_back(z[t][e]), wished += z[t][e] > 0;
    for (const int t : best_k(column, 5))
      if (column[t] > 0) gate[t][e] = column[t], ++placed;
  }
  check_lists(c, gate);
  CHECK((c.stats().choices == wished && c.stats().placed == placed && placed < wished));
  CHECK(c.stats().drop_rate() == doctest::Approx(static_cast<double>(wished - placed) / static_cast<double>(wished)));
  for (index j = 0; j < 5; ++j) c.x.put(7, j, 0.3);  // at zero itself there is no derivative
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
}

TEST_CASE("positive entries of a plan: wishes are what the plan has, not what its scores have") {
  using plan_layer = layer<plan_bounded, cpu>;
  auto config = config_of<plan_layer>(4);
  config.router.nonzeros = 6;
  config.capacity.factor = 0.8f;  // C = 5
  layer_case<plan_layer> c(config, 24, 5);
  c.forward();
  CHECK(polymoe::plan_violation(c.plan()) == "");
  const auto plans = c.w.module().plans(c.w.ctx(), c.w.saved());
  index wished[4] = {}, choices = 0, placed = 0;
  for (index t = 0; t < 24; ++t)
    for (int e = 0; e < 4; ++e) wished[e] += plans.plan.get(t, e) > 0;
  for (int e = 0; e < 4; ++e) {
    CHECK((c.stats().wished[e] == wished[e] && c.stats().served[e] == std::min<index>(wished[e], 5)));
    choices += wished[e], placed += std::min<index>(wished[e], 5);
  }
  CHECK((c.stats().choices == choices && choices <= 24 && placed < choices));
  CHECK(c.stats().drop_rate() ==
        doctest::Approx(static_cast<double>(choices - placed) / static_cast<double>(choices)));
}

TEST_CASE("a table and a hash check the settings of their score too") {
  using plan = polymoe::score::sinkhorn<>;
  const auto says = []<class Router>(Router) {
    auto c = config_of<layer<validated<Router>, cpu>>(4);
    c.router.iterations = -1;
    CHECK(refuses([&] { layer<validated<Router>, cpu>{c}; }, {"iterations is -1"}));
  };
  says(polymoe::fixed<plan>{}), says(polymoe::hashed<plan>{});
}

TEST_CASE("a bad unit is as if it were not in its group: with and without a bound") {
  bad_unit_is_absent<relu_layer>(config_of(3), 8);
  auto bounded = config_of<bounded_layer>(3);
  bounded.capacity.factor = 0.5f;  // C = 3
  bad_unit_is_absent<bounded_layer>(bounded, 9);
  // Without a bound units do not know each other: not a bit changes.
  layer_case<relu_layer> c(config_of(3), 20, 10), good(config_of(3), 20, 10);
  c.x.put(11, 2, not_a_number);
  c.forward(), good.forward();
  for (index t = 0; t < 20; ++t) CHECK(c.y.row_same_bits(t, good.y, t) == (t != 11));
}

TEST_CASE_TEMPLATE("ReLU routing: same bits for any number of threads", Layer, relu_layer,
                   layer<relu_moe<float>, cpu>) {
  same_bits_everywhere<Layer>(config_of<Layer>(6, 50), 330);
}

TEST_CASE("routing by table: one expert a unit, several units an id, ids taken modulo E; every gradient") {
  std::vector<int> ids = {2, 0, 3, 7, -1, 1};
  layer_case<table_layer> c(config_of<table_layer>(4), 24, 6);
  auto& router = c.w.module().router().settings().router;
  router.ids = ids.data(), router.units_per_id = 4;
  c.w.module().router().settings().capacity.factor = 4;
  c.forward();
  const int want[] = {2, 0, 3, 3, 3, 1};
  for (int t = 0; t < 24; ++t) {
    CHECK(c.plan().expert_of[t] == want[t / 4]);
    CHECK(as_double(c.plan().gate.get(0, c.plan().slot_of[t])) == 1);
  }
  reference r;
  r.dim = 5, r.hidden = 4, r.experts = 4, r.out = 5;
  CHECK(dense_expansion_error(c, r) < 1e-11);
  CHECK(check_gradients(c).worst < 1e-6);
  const auto grads = grads_of(c.w);
  for (const double g : grads.at("router.weight")) CHECK(g == 0);
  layer_case<soft_table_layer> d(config_of<soft_table_layer>(4), 24, 6);
  d.w.module().router().settings().router.ids = ids.data(), d.w.module().router().settings().router.units_per_id = 4;
  CHECK(check_gradients(d).worst < 1e-6);
  const matrix soft = softmax_rows(logits_of(d));
  for (int t = 0; t < 24; ++t)
    CHECK(as_double(d.plan().gate.get(0, d.plan().slot_of[t])) == doctest::Approx(soft[t][want[t / 4]]));
}

TEST_CASE("routing by hash: the position decides, all experts are used, another seed is another table") {
  auto config = config_of<hash_layer>(4);
  config.router.period = 50;
  layer_case<hash_layer> c(config, 150, 7);
  c.forward();
  const std::vector<int> first(c.plan().expert_of, c.plan().expert_of + 150);
  for (int t = 50; t < 150; ++t) CHECK(first[static_cast<std::size_t>(t)] == first[static_cast<std::size_t>(t % 50)]);
  for (int e = 0; e < 4; ++e) CHECK(c.stats().served[e] > 3 * 5);
  c.x.randomise(99);
  c.forward();
  CHECK(std::equal(first.begin(), first.end(), c.plan().expert_of));
  c.w.module().router().settings().router.seed = 1;
  c.forward();
  CHECK_FALSE(std::equal(first.begin(), first.end(), c.plan().expert_of));
  config.router.period = 0;
  CHECK(refuses([&] { hash_layer{config}; }, {"period is 0"}));
}

}  // namespace moe_test
