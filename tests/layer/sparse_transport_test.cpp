// Sparse optimal transport: the plan against the papers' algorithm in plain loops (sorted projection, Adam), its sums
// and numbers of non-zeros, the unconstrained plan, and whole layers with every gradient.
// sanitize: yes
// with: transport
#include "support/plan_cells.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;
using transport = score::sparse_transport<>;

template <class T = double>
struct picked : polymoe::spec {
  using scalar = T;
  using router = polymoe::expert_choice<transport>;
  using capacity = polymoe::capacity::bounded<>;
};
struct chosen : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<2, transport>;
  using capacity = polymoe::capacity::bounded<>;
};
using picked_layer = layer<picked<>, cpu>;
using chosen_layer = layer<chosen, cpu>;

/// Projection on the simplex with k non-zeros: sort, longest prefix, relu (papers.md 3.4).
std::vector<double> projected(const std::vector<double>& x, int k) {
  const auto order = best_k(x, std::min<int>(k, static_cast<int>(x.size())));
  double sum = 0, threshold = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const double u = x[static_cast<std::size_t>(order[i])];
    sum += u;
    if (1.0 / static_cast<double>(i + 1) + (u - sum / static_cast<double>(i + 1)) > 0)
      threshold = (sum - 1) / static_cast<double>(i + 1);
  }
  std::vector<double> p(x.size(), 0.0);
  for (const int i : order) p[static_cast<std::size_t>(i)] = std::max(0.0, x[static_cast<std::size_t>(i)] - threshold);
  return p;
}
/// Lines are the experts (columns of s) when `picked`, else the units; the plan in the shape of s.
matrix sparse_plan_by_hand(const matrix& s, bool columns, int k, const transport& o) {
  const std::size_t n = s.size(), E = s[0].size(), lines = columns ? E : n, length = columns ? n : E;
  const double share = static_cast<double>(n) / static_cast<double>(E), b = columns ? share : 1,
               wanted = columns ? 1 : share;
  std::vector<double> alpha(length, 0.0), m(length, 0.0), v(length, 0.0);
  matrix plan(n, std::vector<double>(E));
  const double b1 = static_cast<double>(0.9f), b2 = static_cast<double>(0.999f);
  for (int step = 0;; ++step) {
    for (std::size_t line = 0; line < lines; ++line) {
      std::vector<double> x;
      for (std::size_t i = 0; i < length; ++i)
        x.push_back((alpha[i] + (columns ? s[i][line] : s[line][i])) / (static_cast<double>(o.gamma) * b));
      const auto p = projected(x, k);
      for (std::size_t i = 0; i < length; ++i) (columns ? plan[i][line] : plan[line][i]) = b * p[i];
    }
    if (step == o.iterations) return plan;
    for (std::size_t i = 0; i < length; ++i) {
      double d = -wanted;
      for (std::size_t line = 0; line < lines; ++line) d += columns ? plan[i][line] : plan[line][i];
      m[i] = b1 * m[i] + (1 - b1) * d, v[i] = b2 * v[i] + (1 - b2) * d * d;
      alpha[i] -= static_cast<double>(o.learning_rate) * (m[i] / (1 - std::pow(b1, step + 1))) /
                  (std::sqrt(v[i] / (1 - std::pow(b2, step + 1))) + static_cast<double>(1e-8f));
    }
  }
}
struct sparse_cells : plan_cells<double> {
  sparse_cells(const transport& o, const matrix& s, bool picked, index limit)
      : plan_cells(o, s, static_cast<index>(s[0].size()), picked, limit) {}
};
matrix random_scores(int n, int E, std::uint64_t seed) { return softmax_rows(random_matrix(n, E, 3, seed)); }
template <class Layer>
typename Layer::config transport_config(int experts, double factor, index group) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 3, c.experts = experts, c.group_size = group;
  c.capacity.factor = static_cast<float>(factor);
  return c;
}

}  // namespace

TEST_CASE("the plan of the papers' algorithm: few non-zeros, exact lines") {
  for (const bool picked : {true, false})
    for (const int n : {1, 5, 16, 23})
      for (const int E : {1, 3, 8})
        for (const int iterations : {0, 1, 20})
          for (const int k : {1, 2, 4}) {
            transport o;
            o.iterations = iterations, o.learning_rate = 0.05f;
            const matrix s = random_scores(n, E, 1);
            sparse_cells c(o, s, picked, k);
            o.plan_group(polymoe::scalar_block{}, c.view);
            const matrix want = sparse_plan_by_hand(s, picked, k, o);
            double worst = 0;
            for (int t = 0; t < n; ++t)
              for (int e = 0; e < E; ++e) worst = std::max(worst, std::abs(c.plan.at(t, e) - want[t][e]));
            CHECK(worst < 1e-9);
            const int lines = picked ? E : n, length = picked ? n : E;
            for (int line = 0; line < lines; ++line) {
              double sum = 0;
              int held = 0;
              for (int i = 0; i < length; ++i) {
                const double p = picked ? c.plan.at(i, line) : c.plan.at(line, i);
                CHECK(p >= 0);
                sum += p, held += p > 0;
              }
              CHECK(sum == doctest::Approx(picked ? static_cast<double>(n) / E : 1).epsilon(1e-12));
              CHECK(held <= k);
            }
          }
}

TEST_CASE("without a limit the plan converges: both sums are right; k = n is no limit") {
  for (const bool picked : {true, false}) {
    transport o;
    o.iterations = 4000, o.learning_rate = 2e-3f, o.nonzeros = transport::everything;
    const matrix s = random_scores(12, 4, 2);
    sparse_cells c(o, s, picked, 1);
    o.plan_group(polymoe::scalar_block{}, c.view);
    for (int t = 0; t < 12; ++t) {
      double sum = 0;
      for (int e = 0; e < 4; ++e) sum += c.plan.at(t, e);
      CHECK(sum == doctest::Approx(1).epsilon(1e-3));
    }
    for (int e = 0; e < 4; ++e) {
      double sum = 0;
      for (int t = 0; t < 12; ++t) sum += c.plan.at(t, e);
      CHECK(sum == doctest::Approx(3).epsilon(1e-3));
    }
    transport p = o;
    p.nonzeros = picked ? 12 : 4;
    sparse_cells d(p, s, picked, 1);
    p.plan_group(polymoe::scalar_block{}, d.view);
    CHECK(c.plan.same_bits(d.plan));
  }
}

TEST_CASE("bad units, and groups of nothing else") {
  for (const bool picked : {true, false}) {
    transport o;
    matrix s = random_scores(6, 3, 3);
    sparse_cells with(o, s, picked, 2);
    with.bad[1] = with.bad[4] = 1;
    with.scores.put(1, 0, not_a_number), with.scores.put(4, 1, not_a_number);
    o.plan_group(polymoe::scalar_block{}, with.view);
    s.erase(s.begin() + 4), s.erase(s.begin() + 1);
    sparse_cells without(o, s, picked, 2);
    o.plan_group(polymoe::scalar_block{}, without.view);
    for (int t = 0, u = 0; t < 6; ++t) {
      const bool bad = with.bad[static_cast<std::size_t>(t)];
      for (int e = 0; e < 3; ++e)
        CHECK(with.plan.at(t, e) == (bad ? 0.0 : doctest::Approx(without.plan.at(u, e)).epsilon(1e-13)));
      u += !bad;
    }
    std::fill(with.bad.begin(), with.bad.end(), 1);
    o.plan_group(polymoe::scalar_block{}, with.view);
    for (int t = 0; t < 6; ++t)
      for (int e = 0; e < 3; ++e) CHECK(with.plan.at(t, e) == 0);
  }
}

TEST_CASE("Sparsity-constrained Expert Choice: a layer, its choice, every gradient") {
  layer_case<picked_layer> c(transport_config<picked_layer>(4, 1.0, 9), 23, 4);
  c.forward();
  const auto& p = c.plan();
  CHECK(polymoe::plan_violation(p) == "");
  const matrix soft = softmax_rows(logits_of(c));
  matrix gate(23, std::vector<double>(4, not_a_number));
  for (int t0 = 0; t0 < 23; t0 += 9) {
    const int n = std::min(9, 23 - t0);
    const matrix plan = sparse_plan_by_hand({soft.begin() + t0, soft.begin() + t0 + n}, true, p.capacity, transport{});
    for (int e = 0; e < 4; ++e) {
      std::vector<double> column;
      for (int t = 0; t < n; ++t) column.push_back(plan[t][e]);
      for (const int t : best_k(column, std::min(p.capacity, n))) gate[t0 + t][e] = soft[t0 + t][e];
    }
  }
  check_lists(c, gate);
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 10);
  layer_case<chosen_layer> d(transport_config<chosen_layer>(4, 1.5, 9), 23, 4);
  CHECK(check_gradients(d).worst < 1e-6);
  CHECK(polymoe::plan_violation(d.plan()) == "");
}

TEST_CASE("layers: a bad unit is as if it were not in its group") {
  bad_unit_is_absent<picked_layer>(transport_config<picked_layer>(3, 1.0, 8), 7);
  bad_unit_is_absent<chosen_layer>(transport_config<chosen_layer>(3, 0.75, 8), 8);
}

TEST_CASE_TEMPLATE("same bits for any number of threads", Layer, layer<picked<float>, cpu>, picked_layer) {
  same_bits_everywhere<Layer>(transport_config<Layer>(6, 1.5, 50), 230);
}

TEST_CASE("dual layers choose as plain ones; what is refused") {
  using dual_layer = layer<picked<polymoe::dual<double>>, cpu>;
  tangents_follow<dual_layer, picked_layer>(transport_config<dual_layer>(3, 1.0, 8),
                                            transport_config<picked_layer>(3, 1.0, 8), 15);
  auto config = transport_config<picked_layer>(4, 1, 8);
  config.router.gamma = 0;
  CHECK(refuses([&] { picked_layer{config}; }, {"gamma is 0"}));
  config.router.gamma = 1, config.router.learning_rate = -1;
  CHECK(refuses([&] { picked_layer{config}; }, {"learning_rate is -1"}));
  config.router.learning_rate = 1, config.router.nonzeros = -2;
  CHECK(refuses([&] { picked_layer{config}; }, {"nonzeros is -2"}));
}

}  // namespace moe_test
