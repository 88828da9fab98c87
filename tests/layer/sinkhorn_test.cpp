// Sinkhorn plans: marginals, a second implementation in plain loops, extreme and equal logits, one expert, one unit,
// and whole layers of Sinkhorn Token Choice and Sinkhorn Expert Choice with every gradient, also through the
// iterations.
// sanitize: yes
// with: transport
#include "support/plan_cells.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;

template <class Score, int K = 2, class T = double>
struct token_choice : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<K, Score>;
  using capacity = polymoe::capacity::bounded<>;
};
template <class Score, class T = double>
struct expert_choice : polymoe::spec {
  using scalar = T;
  using router = polymoe::expert_choice<Score>;
  using capacity = polymoe::capacity::bounded<>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::z_loss>;
};
template <class Score>
struct all_experts : polymoe::spec {
  using scalar = double;
  using router = polymoe::mixture<Score>;
};
using by_score = score::sinkhorn<>;
using by_plan = score::sinkhorn<score::by_plan>;
using tc_layer = layer<token_choice<by_score>, cpu>;
using tc_plan_layer = layer<token_choice<by_plan>, cpu>;
using ec_layer = layer<expert_choice<by_score>, cpu>;
using ec_plan_layer = layer<expert_choice<by_plan>, cpu>;
using mix_layer = layer<all_experts<by_score>, cpu>;
using mix_plan_layer = layer<all_experts<by_plan>, cpu>;
using prepared_layer = layer<token_choice<score::standardized<by_plan>>, cpu>;
struct clean_spec : token_choice<score::noisy_constant<score::sinkhorn<score::by_clean_score>>> {
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::z_loss>;
};
using tc_clean_layer = layer<clean_spec, cpu>;
using ec_noisy_layer = layer<expert_choice<score::noisy_constant<by_plan>>, cpu>;

/// Potentials by plain alternate scaling of a [n, E] matrix, in long double, the rows last.
matrix plan_by_hand(const matrix& a, int iterations) {
  const std::size_t n = a.size(), E = n ? a[0].size() : 0;
  std::vector<long double> f(n, 0), g(E, 0);
  const auto rows = [&] {
    for (std::size_t t = 0; t < n; ++t) {
      long double top = -1e4000L, sum = 0;
      for (std::size_t e = 0; e < E; ++e) top = std::max(top, static_cast<long double>(a[t][e]) + g[e]);
      for (std::size_t e = 0; e < E; ++e) sum += std::exp(static_cast<long double>(a[t][e]) + g[e] - top);
      f[t] = -top - std::log(sum);
    }
  };
  rows();
  for (int i = 0; i < iterations; ++i) {
    for (std::size_t e = 0; e < E; ++e) {
      long double top = -1e4000L, sum = 0;
      for (std::size_t t = 0; t < n; ++t) top = std::max(top, static_cast<long double>(a[t][e]) + f[t]);
      for (std::size_t t = 0; t < n; ++t) sum += std::exp(static_cast<long double>(a[t][e]) + f[t] - top);
      g[e] = std::log(static_cast<long double>(n) / static_cast<long double>(E)) - top - std::log(sum);
    }
    rows();
  }
  matrix p = a;
  for (std::size_t t = 0; t < n; ++t)
    for (std::size_t e = 0; e < E; ++e)
      p[t][e] = static_cast<double>(std::exp(static_cast<long double>(a[t][e]) + f[t] + g[e]));
  return p;
}

using cells = plan_cells<double>;

template <class Layer>
typename Layer::config config_of(int experts, double factor, index group = 0, int iterations = 20) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 3, c.experts = experts, c.group_size = group;
  if constexpr (requires { c.capacity.factor; }) c.capacity.factor = static_cast<float>(factor);
  c.router.iterations = iterations;
  return c;
}

}  // namespace

TEST_CASE_TEMPLATE("the plan against plain scaling; rows sum to 1, columns to n / E when it has converged", Score,
                   by_score, by_plan) {
  for (const int n : {1, 2, 7, 32, 33})
    for (const int E : {1, 2, 5, 16})
      for (const int iterations : {0, 1, 2, 20, 400}) {
        Score s;
        s.iterations = iterations;
        const matrix a = random_matrix(n, E, 3, 1);
        cells c(s, a, E);
        s.plan_group(polymoe::scalar_block{}, c.view);
        const matrix want = plan_by_hand(a, iterations);
        for (int t = 0; t < n; ++t) {
          for (int e = 0; e < E; ++e) CHECK(std::abs(c.plan.at(t, e) - want[t][e]) < 1e-12);
          CHECK(std::abs(c.row_sum(t) - 1) < 1e-12);
        }
        if (iterations == 400)
          for (int e = 0; e < E; ++e) CHECK(std::abs(c.column_sum(e) - static_cast<double>(n) / E) < 1e-6);
        if (iterations == 0) {
          const matrix soft = softmax_rows(a);
          for (int t = 0; t < n; ++t)
            for (int e = 0; e < E; ++e) CHECK(std::abs(c.plan.at(t, e) - soft[t][e]) < 1e-14);
        }
      }
}

TEST_CASE_TEMPLATE("the tolerance stops the iterations where it says", Score, by_score, by_plan) {
  Score s;
  s.iterations = 500;
  const matrix a = random_matrix(40, 6, 3, 2);
  for (const float tolerance : {1e-2f, 1e-4f, 1e-6f}) {
    s.tolerance = tolerance;
    cells c(s, a, 6);
    s.plan_group(polymoe::scalar_block{}, c.view);
    for (int e = 0; e < 6; ++e) CHECK(std::abs(c.column_sum(e) * 6 / 40 - 1) <= tolerance * 1.000001);
    for (int t = 0; t < 40; ++t) CHECK(std::abs(c.row_sum(t) - 1) < 1e-12);
    if (Score::weighs_plan) CHECK((c.steps > 0 && c.steps < 100));
  }
}

TEST_CASE_TEMPLATE("extreme, equal and few logits; bad units", Score, by_score, by_plan) {
  Score s;
  for (const int n : {1, 9})
    for (const int E : {1, 4}) {
      // One order of magnitude nothing converges at: still a distribution in every row.
      cells c(s, random_matrix(n, E, 1e4, 3), E);
      s.plan_group(polymoe::scalar_block{}, c.view);
      for (int t = 0; t < n; ++t) {
        CHECK(std::abs(c.row_sum(t) - 1) < 1e-9);
        for (int e = 0; e < E; ++e) CHECK((c.plan.at(t, e) >= 0 && c.plan.at(t, e) <= 1 + 1e-9));
      }
      cells equal(s, matrix(static_cast<std::size_t>(n), std::vector<double>(static_cast<std::size_t>(E), 1e4)), E);
      s.plan_group(polymoe::scalar_block{}, equal.view);
      for (int t = 0; t < n; ++t)
        for (int e = 0; e < E; ++e) CHECK(std::abs(equal.plan.at(t, e) - 1.0 / E) < 1e-9);
    }
  // One unit takes every expert alike: the columns ask for 1 / E each.
  cells one(s, {{3.0, -2.0, 0.5, 1.0}}, 4);
  s.plan_group(polymoe::scalar_block{}, one.view);
  for (int e = 0; e < 4; ++e) CHECK(std::abs(one.plan.at(0, e) - 0.25) < 1e-14);
  // Bad units are as if they were not there.
  matrix a = random_matrix(6, 3, 2, 4);
  cells with(s, a, 3);
  with.bad[1] = with.bad[4] = 1;
  with.logits.put(1, 0, not_a_number), with.logits.put(4, 2, HUGE_VAL);
  s.plan_group(polymoe::scalar_block{}, with.view);
  a.erase(a.begin() + 4), a.erase(a.begin() + 1);
  cells without(s, a, 3);
  s.plan_group(polymoe::scalar_block{}, without.view);
  for (int t = 0, u = 0; t < 6; ++t) {
    for (int e = 0; e < 3; ++e)
      CHECK(with.plan.at(t, e) == (with.bad[static_cast<std::size_t>(t)] ? 0.0 : without.plan.at(u, e)));
    u += !with.bad[static_cast<std::size_t>(t)];
  }
  std::fill(with.bad.begin(), with.bad.end(), 1);
  s.plan_group(polymoe::scalar_block{}, with.view);
  for (int t = 0; t < 6; ++t) CHECK(with.row_sum(t) == 0);
}

TEST_CASE("the gradient through the iterations, converged or not, with and without an early stop") {
  for (const int iterations : {0, 1, 3, 20})
    for (const float tolerance : {0.0f, 1e-2f}) {
      by_plan s;
      s.iterations = iterations, s.tolerance = tolerance;
      const matrix a = random_matrix(7, 4, 2, 5);
      cells c(s, a, 4);
      c.view.inverse_temperature = 0.5f;
      s.plan_group(polymoe::scalar_block{}, c.view);
      const int steps = c.steps;
      tensor<double> d(7, 4);
      d.randomise(6);
      c.d_plan = d;
      c.view.d_plan = c.d_plan.get();
      s.plan_group_vjp(polymoe::scalar_block{}, c.view);
      for (index t = 0; t < 7; ++t)
        for (index e = 0; e < 4; ++e) {
          const auto value = [&](double step) {
            matrix moved = a;
            moved[t][e] += step / 0.5;  // the gradient is that of the scaled logits
            cells m(s, moved, 4);
            m.view.inverse_temperature = 0.5f;
            s.plan_group(polymoe::scalar_block{}, m.view);
            REQUIRE(m.steps == steps);
            double sum = 0;
            for (index i = 0; i < 7; ++i)
              for (index j = 0; j < 4; ++j) sum += m.plan.at(i, j) * d.at(i, j);
            return sum;
          };
          const double want = (value(1e-5) - value(-1e-5)) / 2e-5;
          CHECK(std::abs(c.d_plan.at(t, e) - want) < 1e-8 * std::max(1.0, std::abs(want)) + 1e-9);
        }
    }
}

TEST_CASE("Sinkhorn Token Choice: the K best of the plan, gates of the softmax or of the plan") {
  for (const int E : {2, 4, 33})
    for (const index group : {index{0}, index{7}}) {
      const auto check = [&]<class Layer>(bool plan_weighs) {
        layer_case<Layer> c(config_of<Layer>(E, 2.0, group), 23,
                            static_cast<std::uint64_t>(E));  // 23 is no multiple of E
        c.w.step().temperature = 0.5f;
        c.forward();
        const auto& p = c.plan();
        CHECK(polymoe::plan_violation(p) == "");
        matrix a = logits_of(c);
        for (auto& row : a)
          for (double& x : row) x *= 2;
        const matrix soft = softmax_rows(a);
        for (int t0 = 0; t0 < 23; t0 += p.group_size) {
          const int n = std::min(p.group_size, 23 - t0);
          const matrix plan = plan_by_hand({a.begin() + t0, a.begin() + t0 + n}, 20);
          for (int t = 0; t < n; ++t) {
            const auto best = best_k(plan[t], 2);
            for (int j = 0; j < 2; ++j) {
              const int choice = (t0 + t) * 2 + j;
              CHECK(c.w.saved().routing.place.wish[choice] == best[j]);
              if (p.expert_of[choice] < 0) continue;
              CHECK(as_double(p.gate.get(0, p.slot_of[choice])) ==
                    doctest::Approx(plan_weighs ? plan[t][best[j]] : soft[t0 + t][best[j]]).epsilon(1e-10));
            }
          }
        }
        reference r;
        r.dim = 5, r.hidden = 3, r.experts = E, r.out = 5;
        CHECK(dense_expansion_error(c, r) < 1e-11);
      };
      check.operator()<tc_layer>(false);
      check.operator()<tc_plan_layer>(true);
    }
}

TEST_CASE("Sinkhorn Expert Choice: every expert's best of the plan") {
  const auto check = [&]<class Layer>(bool plan_weighs) {
    layer_case<Layer> c(config_of<Layer>(4, 1.0, 9), 23, 3);
    c.forward();
    const auto& p = c.plan();
    CHECK(polymoe::plan_violation(p) == "");
    const matrix a = logits_of(c), soft = softmax_rows(a);
    matrix gate(23, std::vector<double>(4, not_a_number));
    for (int t0 = 0; t0 < 23; t0 += 9) {
      const int n = std::min(9, 23 - t0);
      const matrix plan = plan_by_hand({a.begin() + t0, a.begin() + t0 + n}, 20);
      for (int e = 0; e < 4; ++e) {
        std::vector<double> column;
        for (int t = 0; t < n; ++t) column.push_back(plan[t][e]);
        for (const int t : best_k(column, std::min(p.capacity, n)))
          gate[t0 + t][e] = plan_weighs ? plan[t][e] : soft[t0 + t][e];
      }
    }
    check_lists(c, gate);
  };
  check.operator()<ec_layer>(false);
  check.operator()<ec_plan_layer>(true);
}

TEST_CASE("a mixture over all experts is weighted by the softmax or by the plan") {
  const auto check = [&]<class Layer>(bool plan_weighs) {
    layer_case<Layer> c(config_of<Layer>(4, 1.0, 9), 23, 5);
    c.forward();
    const matrix a = logits_of(c), soft = softmax_rows(a);
    for (int t0 = 0; t0 < 23; t0 += 9) {
      const int n = std::min(9, 23 - t0);
      const matrix plan = plan_by_hand({a.begin() + t0, a.begin() + t0 + n}, 20);
      for (int t = 0; t < n; ++t)
        for (int e = 0; e < 4; ++e)
          CHECK(as_double(c.plan().gate.get(0, e * 23 + t0 + t)) ==
                doctest::Approx(plan_weighs ? plan[t][e] : soft[t0 + t][e]).epsilon(1e-10));
    }
  };
  check.operator()<mix_layer>(false);
  check.operator()<mix_plan_layer>(true);
}

TEST_CASE("the plan is made of what the scores are made of: standardised logits") {
  layer_case<prepared_layer> c(config_of<prepared_layer>(5, 2.0), 23, 6);
  c.forward();
  matrix a = logits_of(c);
  for (auto& row : a) {
    double mean = 0, square = 0;
    for (const double x : row) mean += x / 5;
    for (const double x : row) square += (x - mean) * (x - mean) / 4;
    for (double& x : row) x = (x - mean) / (std::sqrt(square) + 1e-5);
  }
  const matrix plan = plan_by_hand(a, 20);
  for (int t = 0; t < 23; ++t) {
    const auto best = best_k(plan[t], 2);
    for (int j = 0; j < 2; ++j) CHECK(c.w.saved().routing.place.wish[2 * t + j] == best[j]);
  }
}

TEST_CASE_TEMPLATE("layers with Sinkhorn plans: every gradient", Layer, tc_layer, tc_plan_layer, ec_layer,
                   ec_plan_layer, ec_noisy_layer, mix_plan_layer, prepared_layer) {
  for (const int iterations : {3, 20}) {
    auto config = config_of<Layer>(4, 1.0, 9, iterations);
    if constexpr (Layer::recipe.balance_terms == 2) {
      config.balance.template get<polymoe::balance::importance>().weight = 20;
      config.balance.template get<polymoe::balance::z_loss>().weight = 3;
    }
    layer_case<Layer> c(config, 23, 7);
    c.w.step().temperature = 0.7f;
    const auto r = check_gradients(c);
    CHECK(r.worst < 1e-6);
    CHECK(r.checked > 180);
    CHECK(r.flipped < r.checked / 10);
  }
}

TEST_CASE("by_clean_score: noise moves the choice, gates and losses are of the clean logits; every gradient") {
  layer_case<tc_clean_layer> c(config_of<tc_clean_layer>(4, 1.0, 9), 23, 11);
  c.w.step().temperature = 0.5f;
  c.forward();
  const auto& r = c.w.saved().routing;
  matrix a = logits_of(c), noisy = a;
  int moved = 0;
  for (int t = 0; t < 23; ++t)
    for (int e = 0; e < 4; ++e) {
      const std::size_t i = static_cast<std::size_t>(t), j = static_cast<std::size_t>(e);
      noisy[i][j] = 2 * r.noisy.get(t, e), a[i][j] *= 2;
      CHECK(std::abs(noisy[i][j] - a[i][j]) > 1e-9);
    }
  const matrix soft = softmax_rows(a);
  for (int t0 = 0; t0 < 23; t0 += 9) {
    const int n = std::min(9, 23 - t0);
    const matrix plan = plan_by_hand({noisy.begin() + t0, noisy.begin() + t0 + n}, 20),
                 quiet = plan_by_hand({a.begin() + t0, a.begin() + t0 + n}, 20);
    for (int t = 0; t < n; ++t) {
      const auto best = best_k(plan[static_cast<std::size_t>(t)], 2);
      moved += best != best_k(quiet[static_cast<std::size_t>(t)], 2);
      for (int j = 0; j < 2; ++j) {
        const int choice = (t0 + t) * 2 + j, e = best[static_cast<std::size_t>(j)];
        CHECK(r.place.wish[choice] == e);
        if (c.plan().expert_of[choice] >= 0)
          CHECK(as_double(c.plan().gate.get(0, c.plan().slot_of[choice])) ==
                doctest::Approx(soft[static_cast<std::size_t>(t0 + t)][static_cast<std::size_t>(e)]).epsilon(1e-10));
      }
    }
  }
  CHECK(moved > 0);
  c.w.module().router().settings().balance.template get<polymoe::balance::importance>().weight = 20;
  const auto report = check_gradients(c);
  CHECK(report.worst < 1e-6);
  CHECK(report.flipped < report.checked / 10);
}

TEST_CASE(
    "greedy_evaluation: the largest logits in evaluation, whatever the group; gates of the plan are the softmax") {
  const auto check = [&]<class Layer>() {
    auto config = config_of<Layer>(4, 4.0, 9);
    config.router.greedy_evaluation = true;
    layer_case<Layer> c(config, 23, 12);
    const auto differing = [&] {
      c.forward();
      const matrix a = logits_of(c);
      int other = 0;
      for (int t = 0; t < 23; ++t) {
        const auto best = best_k(a[static_cast<std::size_t>(t)], 2);
        for (int j = 0; j < 2; ++j)
          other += c.w.saved().routing.place.wish[2 * t + j] != best[static_cast<std::size_t>(j)];
      }
      return other;
    };
    CHECK(differing() > 0);
    c.w.ctx().mode = polymoe::run_mode::eval;
    CHECK(differing() == 0);
    const matrix soft = softmax_rows(logits_of(c));
    for (int i = 0; i < 46; ++i)
      CHECK(as_double(c.plan().gate.get(0, c.plan().slot_of[i])) ==
            doctest::Approx(soft[static_cast<std::size_t>(i / 2)][static_cast<std::size_t>(c.plan().expert_of[i])])
                .epsilon(1e-12));
    const auto report = check_gradients(c);
    CHECK(report.worst < 1e-6);
    CHECK(report.flipped < report.checked / 10);
  };
  check.operator()<tc_layer>();
  check.operator()<tc_plan_layer>();
}

TEST_CASE("a table's expert is served with its weight in the plan") {
  struct by_hash : polymoe::spec {
    using scalar = double;
    using router = polymoe::hashed<by_plan>;
  };
  using hash_layer = layer<by_hash, cpu>;
  layer_case<hash_layer> c(config_of<hash_layer>(4, 1.0), 11, 4);
  c.forward();
  const matrix plan = plan_by_hand(logits_of(c), 20);
  for (int t = 0; t < 11; ++t)
    CHECK(as_double(c.plan().gate.get(0, c.plan().slot_of[t])) ==
          doctest::Approx(plan[t][static_cast<std::size_t>(c.plan().expert_of[t])]).epsilon(1e-10));
}

TEST_CASE("one expert, one unit, nothing") {
  layer_case<layer<token_choice<by_plan, 1>, cpu>> one(config_of<layer<token_choice<by_plan, 1>, cpu>>(1, 1.0), 5, 8);
  one.forward();
  for (int t = 0; t < 5; ++t) CHECK(as_double(one.plan().gate.get(0, t)) == doctest::Approx(1).epsilon(1e-14));
  CHECK(check_gradients(one).worst < 1e-6);
  layer_case<ec_plan_layer> c(config_of<ec_plan_layer>(4, 1.0), 5, 8);
  c.w.forward(c.x.get().rows_at(0, 1), c.y.get().rows_at(0, 1));
  CHECK(c.plan().choices(0) == 4);
  c.w.forward(c.x.get().rows_at(0, 0), c.y.get().rows_at(0, 0));
  c.w.backward(c.dy.get().rows_at(0, 0), c.dx.get().rows_at(0, 0));
  CHECK(c.stats().placed == 0);
}

TEST_CASE_TEMPLATE("a bad unit is as if it were not in its group; other groups keep their bits", Layer, tc_layer,
                   tc_plan_layer, ec_layer, ec_plan_layer, mix_plan_layer) {
  // 8 units and 7 have the same capacity.
  bad_unit_is_absent<Layer>(config_of<Layer>(3, Layer::spec::router::k == 2 ? 0.75 : 1.0), 9);
  layer_case<Layer> good(config_of<Layer>(3, 1.0, 8), 16, 9), hurt(config_of<Layer>(3, 1.0, 8), 16, 9);
  good.forward(), good.backward();
  for (const double bad : {not_a_number, HUGE_VAL}) {
    hurt.x.put(3, 1, bad), hurt.dy.put(3, 1, not_a_number);
    hurt.forward(), hurt.backward();
    CHECK(hurt.stats().bad_rows == 1);
    for (index t = 8; t < 16; ++t) CHECK((hurt.y.row_same_bits(t, good.y, t) && hurt.dx.row_same_bits(t, good.dx, t)));
  }
}

TEST_CASE_TEMPLATE("same bits for any number of threads", Layer, layer<token_choice<by_plan, 2, float>, cpu>,
                   layer<expert_choice<by_score, polymoe::bf16>, cpu>, ec_plan_layer) {
  same_bits_everywhere<Layer>(config_of<Layer>(6, 1.5, 50), 330);
}

TEST_CASE("dual numbers carry the derivative through the iterations") {
  using dual_layer = layer<expert_choice<by_plan, polymoe::dual<double>>, cpu>;
  tangents_follow<dual_layer, ec_plan_layer>(config_of<dual_layer>(3, 1.0, 8, 5),
                                             config_of<ec_plan_layer>(3, 1.0, 8, 5), 15);
}

TEST_CASE("what is refused; the iterations of a bound layer may shrink, not grow") {
  CHECK(refuses([] { tc_layer{config_of<tc_layer>(4, 1, 0, -1)}; }, {"iterations is -1"}));
  CHECK(refuses([] { tc_layer{config_of<tc_layer>(4, 1, 0, 1001)}; }, {"iterations is 1001", "1000"}));
  auto config = config_of<tc_layer>(4, 1);
  config.router.tolerance = -1;
  CHECK(refuses([&] { tc_layer{config}; }, {"tolerance is -1"}));
  layer_case<tc_plan_layer> c(config_of<tc_plan_layer>(4, 1.0, 0, 5), 9, 10);
  c.w.module().router().settings().router.iterations = 4;
  c.forward();
  c.w.module().router().settings().router.iterations = 6;
  CHECK(refuses([&] { c.forward(); }, {"keeps", "bound for"}));
}

}  // namespace moe_test
