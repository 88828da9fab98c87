// Balanced assignment: the sum against brute force within the promised bound, exactly balanced groups always, ties,
// extremes, few rounds; whole layers with every gradient, evaluation, bits.
// sanitize: yes
// with: scores
#include "support/column_layer.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;

template <class Inner = score::sigmoid, class T = double>
struct base_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<1, score::balanced_assignment<Inner>>;
  using balance = polymoe::balance::z_loss;
};
/// BASE's layer as published.
struct published_spec : polymoe::spec {
  using scalar = double;
  using router = polymoe::with_orthogonal<polymoe::top_k<1, score::balanced_assignment<>>>;
  using combine = polymoe::combine::interpolated;
};
using published_layer = layer<published_spec, cpu>;
using base_layer = layer<base_spec<>, cpu>;
using noisy_layer = layer<base_spec<score::noisy_constant<score::softmax>>, cpu>;

/// A group with memory of its own.
template <class C>
struct group {
  tensor<C> logits, plan, kept;
  std::vector<unsigned char> bad;
  int steps = -1, bins[polymoe::phase::select_bins];
  polymoe::group_cells<C> view;
  group(const matrix& z, int E)
      : logits(static_cast<index>(z.size()), E),
        plan(logits),
        kept(1, score::balanced_assignment<>{}.kept(logits.rows, E)),
        bad(z.size(), 0) {
    for (index t = 0; t < logits.rows; ++t)
      for (index e = 0; e < E; ++e) logits.put(t, e, z[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)]);
    view.logits = logits.get(), view.plan = plan.get(), view.kept = kept.get();
    view.bad = bad.data(), view.steps = &steps, view.bins = bins;
  }
  void run(const score::balanced_assignment<>& s) {
    plan.fill(not_a_number), kept.fill(not_a_number);
    s.plan_group(polymoe::scalar_block{}, view);
  }
  /// The expert of every unit, -1 for bad ones; each row has one 1 and zeros.
  std::vector<int> experts() const {
    std::vector<int> of;
    bool sound = true;
    for (index t = 0; t < plan.rows; ++t) {
      int found = -1, ones = 0;
      for (index e = 0; e < plan.cols; ++e) {
        const double x = plan.at(t, e);
        sound = sound && (x == 0 || x == 1);
        if (x == 1) found = static_cast<int>(e), ++ones;
      }
      sound = sound && ones == (bad[static_cast<std::size_t>(t)] ? 0 : 1);
      of.push_back(found);
    }
    REQUIRE(sound);
    return of;
  }
  double sum() const {
    double s = 0;
    const auto of = experts();
    for (std::size_t t = 0; t < of.size(); ++t)
      if (of[t] >= 0) s += logits.at(static_cast<index>(t), of[t]);
    return s;
  }
};
double spread_of(const matrix& z) {
  double s = 0;
  for (const auto& r : z)
    s = std::max(s, *std::max_element(r.begin(), r.end()) - *std::min_element(r.begin(), r.end()));
  return s;
}
/// The largest sum of all balanced assignments, by trying them all.
double best_sum(const matrix& z, int E) {
  const int n = static_cast<int>(z.size()), whole = n / E, full_ones = n % E;
  std::vector<int> held(static_cast<std::size_t>(E), 0);
  double best = -1e300;
  const auto place = [&](const auto& self, int t, double sum) -> void {
    if (t == n) {
      int full = 0;
      for (const int h : held) {
        if (h < whole) return;
        full += h > whole;
      }
      if (full == full_ones) best = std::max(best, sum);
      return;
    }
    for (int e = 0; e < E; ++e) {
      if (held[static_cast<std::size_t>(e)] > whole) continue;
      ++held[static_cast<std::size_t>(e)];
      self(self, t + 1, sum + z[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)]);
      --held[static_cast<std::size_t>(e)];
    }
  };
  place(place, 0, 0.0);
  return best;
}
void check_balanced(const std::vector<int>& of, int E) {
  std::vector<int> held(static_cast<std::size_t>(E), 0);
  int n = 0;
  for (const int e : of)
    if (e >= 0) ++held[static_cast<std::size_t>(e)], ++n;
  for (const int h : held) CHECK((h == n / E || h == (n + E - 1) / E));
}

}  // namespace

TEST_CASE_TEMPLATE("the sum is within (n + E / 2) epsilon of the best of all assignments, for every remainder", C,
                   double, float) {
  int exact = 0, cases = 0;
  for (int E = 1; E <= 5; ++E)
    for (int n = 0; n <= (E <= 3 ? 9 : 7); ++n)
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        // Random logits; few different ones, so that many assignments are equally good; everybody likes expert 0.
        matrix z = random_matrix(n, E, 3, seed + 1);
        for (auto& row : z)
          for (std::size_t e = 0; e < row.size(); ++e) {
            if (seed == 1) row[e] = std::round(row[e]);
            if (seed == 2 && e == 0) row[e] += 5;
            row[e] = static_cast<double>(static_cast<float>(row[e]));
          }
        const double best = best_sum(z, E);
        for (const float tolerance : {0.3f, 0.01f, 1e-4f}) {
          score::balanced_assignment<> s;
          s.tolerance = tolerance;
          group<C> g(z, E);
          g.run(s);
          INFO("n ", n, ", E ", E, ", seed ", seed, ", tolerance ", tolerance);
          check_balanced(g.experts(), E);
          CHECK(g.steps < s.rounds);
          CHECK((g.sum() <= best + 1e-9 || n == 0));
          if (n > 0) CHECK(best - g.sum() <= (n + E / 2.0) * static_cast<double>(tolerance) * spread_of(z) + 1e-6);
          if (tolerance == 1e-4f && n > 0) ++cases, exact += best - g.sum() < 1e-3;
        }
      }
  CHECK(exact > cases * 9 / 10);
}

TEST_CASE("large groups: balanced, better than greedy filling, near the bound from prices") {
  for (const int n : {256, 301, 640})
    for (const int E : {7, 16, 32}) {
      const matrix z = random_matrix(n, E, 2, static_cast<std::uint64_t>(n + E));
      score::balanced_assignment<> s;
      group<double> g(z, E);
      g.run(s);
      check_balanced(g.experts(), E);
      CHECK(g.steps < 5000);
      // No balanced assignment beats what the units could have without any balance.
      double free = 0, greedy = 0;
      std::vector<int> held(static_cast<std::size_t>(E), 0);
      for (const auto& row : z) {
        free += *std::max_element(row.begin(), row.end());
        int best = -1;
        for (int e = 0; e < E; ++e)
          if (held[static_cast<std::size_t>(e)] < (n + E - 1) / E &&
              (best < 0 || row[static_cast<std::size_t>(e)] > row[static_cast<std::size_t>(best)]))
            best = e;
        ++held[static_cast<std::size_t>(best)], greedy += row[static_cast<std::size_t>(best)];
      }
      CHECK(g.sum() <= free);
      CHECK(g.sum() >= greedy - (n + E / 2.0) * 1e-3 * spread_of(z));
      // A finer epsilon gains no more than the coarser one promised.
      s.tolerance = 1e-4f;
      group<double> fine(z, E);
      fine.run(s);
      CHECK(std::abs(fine.sum() - g.sum()) <= (n + E / 2.0) * 1e-3 * spread_of(z));
    }
}

TEST_CASE_TEMPLATE("equal, extreme and infinite logits, bad units, temperature", C, double, float) {
  const score::balanced_assignment<> s;
  for (const int n : {1, 3, 8, 30})
    for (const int E : {1, 2, 4, 40}) {
      for (const double x : {0.0, 1e30, -1e4}) {
        group<C> g(matrix(static_cast<std::size_t>(n), std::vector<double>(static_cast<std::size_t>(E), x)), E);
        g.run(s);
        check_balanced(g.experts(), E);
        CHECK(g.steps < 2000);
      }
      group<C> wide(random_matrix(n, E, 1e30, 3), E);
      wide.view.inverse_temperature = 1e6f;  // scaled logits beyond float
      wide.run(s);
      check_balanced(wide.experts(), E);
      // The same row for everybody: experts as a whole are better or worse.
      group<C> same(matrix(static_cast<std::size_t>(n), random_matrix(1, E, 4, 5)[0]), E);
      same.run(s);
      check_balanced(same.experts(), E);
      CHECK(same.steps < 4000);
    }
  matrix z = random_matrix(9, 3, 2, 6);
  group<C> with(z, 3);
  with.bad[2] = with.bad[7] = 1;
  with.logits.put(2, 0, not_a_number), with.logits.put(7, 1, HUGE_VAL);
  with.run(s);
  check_balanced(with.experts(), 3);
  z.erase(z.begin() + 7), z.erase(z.begin() + 2);
  group<C> without(z, 3);
  without.run(s);
  auto of = with.experts();
  of.erase(of.begin() + 7), of.erase(of.begin() + 2);
  CHECK(of == without.experts());
  std::fill(with.bad.begin(), with.bad.end(), 1);
  with.run(s);
  with.experts();
  // Logits and temperature together: twice as hot is half the logits.
  group<C> hot(z, 3), half(z, 3);
  hot.view.inverse_temperature = 0.5f;
  for (index t = 0; t < 7; ++t)
    for (index e = 0; e < 3; ++e) half.logits.put(t, e, half.logits.at(t, e) * 0.5);
  hot.run(s), half.run(s);
  CHECK(hot.experts() == half.experts());
}

TEST_CASE("without enough rounds the groups are balanced all the same") {
  for (const int n : {5, 12, 41})
    for (const int E : {2, 4, 7})
      for (const int rounds : {0, 1, 2, 3, 5, 9, 20}) {
        score::balanced_assignment<> s;
        s.rounds = rounds;
        matrix z = random_matrix(n, E, 2, 7);
        for (auto& row : z) row[0] += 3;
        group<double> g(z, E);
        g.run(s);
        check_balanced(g.experts(), E);
        CHECK(g.steps <= rounds);
      }
}

TEST_CASE(
    "layers: groups are balanced in training, gates are scores, every gradient; evaluation is greedy or as in "
    "training") {
  const auto check = [&]<class Layer>(Layer*) {
    typename Layer::config config;
    config.dim = 5, config.hidden = 3, config.experts = 4, config.group_size = 9;
    config.balance.first.weight = 3;
    layer_case<Layer> c(config, 23, 8);
    c.w.step().temperature = 0.7f;
    c.forward();
    CHECK(polymoe::plan_violation(c.plan()) == "");
    CHECK(c.stats().drop_rate() == 0);
    for (int t0 = 0; t0 < 23; t0 += 9)
      check_balanced({c.plan().expert_of + t0, c.plan().expert_of + std::min(23, t0 + 9)}, 4);
    const auto& routed = c.w.saved().routing;
    for (int t = 0; t < 23; ++t)
      CHECK(routed.plan.gate.get(0, routed.plan.slot_of[t]) == routed.scores.get(t, routed.plan.expert_of[t]));
    const auto r = check_gradients(c);
    CHECK(r.worst < 1e-6);
    CHECK(r.flipped < r.checked / 5);
    // Evaluation.
    c.w.ctx().mode = polymoe::run_mode::eval;
    c.forward();
    const matrix z = logits_of(c);
    for (int t = 0; t < 23; ++t) CHECK(c.plan().expert_of[t] == best_k(z[static_cast<std::size_t>(t)], 1)[0]);
    c.w.module().router().settings().router.greedy_evaluation = false;
    c.forward();
    for (int t0 = 0; t0 < 23; t0 += 9)
      check_balanced({c.plan().expert_of + t0, c.plan().expert_of + std::min(23, t0 + 9)}, 4);
  };
  check(static_cast<base_layer*>(nullptr));
  check(static_cast<noisy_layer*>(nullptr));
}

TEST_CASE("BASE's layer as published: y = a f(x) + (1 - a) x with a = sigmoid(<x, w>), every gradient") {
  reference r;
  r.dim = r.out = 5, r.hidden = 3, r.experts = 4;
  layer_case<published_layer> c({.dim = 5, .hidden = 3, .experts = 4, .group_size = 9}, 23, 8);
  c.forward();
  const matrix z = logits_of(c);
  const named parameters = values_of(c.w);
  for (index t = 0; t < 23; ++t) {
    std::vector<double> x;
    for (index j = 0; j < 5; ++j) x.push_back(c.x.at(t, j));
    const int e = c.plan().expert_of[t];
    const double a = 1 / (1 + std::exp(-z[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)]));
    const auto f = r.run_expert(parameters, e, x.data());
    for (index j = 0; j < 5; ++j) {
      const auto i = static_cast<std::size_t>(j);
      CHECK(std::abs(c.y.at(t, j) - (a * f[i] + (1 - a) * x[i])) < 1e-14);
    }
  }
  const auto g = check_gradients(c);
  CHECK(g.worst < 1e-6);
  CHECK(g.flipped < g.checked / 5);
}

TEST_CASE("a router's rows start orthogonal, of length first_gain; its columns where they are fewer; normal without") {
  const auto first = [](int experts, index dim, float gain, std::uint64_t seed) {
    published_layer::config config{.dim = dim, .hidden = 3, .experts = experts};
    config.router.first_gain = gain;
    polymoe::workspace<published_layer> w(published_layer(config), {.max_rows = 1, .seed = seed});
    return values_of(w).at("router.weight");
  };
  for (const auto& [E, D] : {std::pair<int, index>{4, 7}, {7, 7}, {9, 5}, {1, 1}, {1, 6}, {64, 96}})
    for (const float gain : {0.1f, 3.0f}) {
      const auto w = first(E, D, gain, 5);
      const index n = std::min<index>(E, D), length = std::max<index>(E, D), step = E <= D ? 1 : D,
                  next = E <= D ? D : 1;
      double worst = 0;
      for (index a = 0; a < n; ++a)
        for (index b = 0; b <= a; ++b) {
          double dot = 0;
          for (index i = 0; i < length; ++i)
            dot += w[static_cast<std::size_t>(a * next + i * step)] * w[static_cast<std::size_t>(b * next + i * step)];
          worst = std::max(worst, std::abs(dot / (double{gain} * double{gain}) - (a == b ? 1 : 0)));
        }
      CHECK(worst < 1e-13);
      CHECK(first(E, D, gain, 5) == w);
      if (E > 1) CHECK(first(E, D, gain, 6) != w);
    }
  // No direction is preferred: numbers over many seeds have mean 0 and deviation gain / sqrt(D).
  double sum = 0, square = 0;
  int count = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed)
    for (const double x : first(3, 4, 1, seed)) sum += x, square += x * x, ++count;
  CHECK(std::abs(sum / count) < 4 * 0.5 / std::sqrt(count));
  CHECK(square / count == doctest::Approx(0.25).epsilon(1e-6));
  // Signs of the first number of each row: as often plus as minus.
  int plus = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const auto w = first(3, 4, 1, seed);
    plus += (w[0] > 0) + (w[4] > 0) + (w[8] > 0);
  }
  CHECK(std::abs(plus - 600) < 4 * std::sqrt(300.0));
}

TEST_CASE("layers: one expert, one unit, nothing, bad rows, threads") {
  layer_case<base_layer> one({.dim = 5, .hidden = 3, .experts = 1}, 5, 9);
  CHECK(check_gradients(one).worst < 1e-6);
  layer_case<base_layer> c({.dim = 5, .hidden = 3, .experts = 4}, 9, 9);
  c.w.forward(c.x.get().rows_at(0, 1), c.y.get().rows_at(0, 1));
  CHECK(c.stats().placed == 1);
  c.w.forward(c.x.get().rows_at(0, 0), c.y.get().rows_at(0, 0));
  c.w.backward(c.dy.get().rows_at(0, 0), c.dx.get().rows_at(0, 0));
  for (index j = 0; j < 5; ++j) c.x.put(3, j, not_a_number);
  c.forward(), c.backward();
  CHECK(c.stats().bad_rows == 1);
  CHECK(c.stats().placed == 8);
  for (const auto& [name, g] : grads_of(c.w))
    for (const double v : g) CHECK(std::isfinite(v));
  // The others are assigned, weighed and trained as without it.
  for (std::uint64_t seed = 9; seed < 17; ++seed)
    bad_unit_is_absent<base_layer>({.dim = 5, .hidden = 3, .experts = 3}, seed);
  bad_unit_is_absent<published_layer>({.dim = 5, .hidden = 3, .experts = 3}, 10);
  same_bits_everywhere<layer<base_spec<score::sigmoid, float>, cpu>>(
      {.dim = 5, .hidden = 3, .experts = 6, .group_size = 50}, 330);
}

TEST_CASE("what is refused") {
  base_layer::config c{.dim = 5, .hidden = 3, .experts = 4};
  c.router.tolerance = 0;
  CHECK(refuses([&] { base_layer{c}; }, {"balanced_assignment: tolerance is 0"}));
  c.router.tolerance = 0.1f, c.router.rounds = -1;
  CHECK(refuses([&] { base_layer{c}; }, {"balanced_assignment: rounds is -1"}));
  published_layer::config p{.dim = 5, .hidden = 3, .experts = 4};
  for (const float gain : {0.0f, -1.0f, static_cast<float>(not_a_number), HUGE_VALF}) {
    p.router.first_gain = gain;
    CHECK(refuses([&] { published_layer{p}; }, {"with_orthogonal: first_gain is", "positive and finite"}));
  }
  p.router.first_gain = 1, p.router.rounds = -1;
  CHECK(refuses([&] { published_layer{p}; }, {"balanced_assignment: rounds is -1"}));
}

}  // namespace moe_test
