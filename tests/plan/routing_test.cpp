// Whole routing calls: logits, scores, plan, gates, statistics and state against the reference, for every expert count
// and K; and what happens at the edges (no units, one unit, planted winners, bad rows, evaluation, commit).
// with: plans
#include <polymoe/plan/invariants.hpp>

#include "support/moe_reference.hpp"

namespace moe_test {
namespace {

namespace capacity = polymoe::capacity;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::plan_violation;
using polymoe::routing;
using polymoe::top_k;
using polymoe::workspace;

template <int K>
struct by_softmax : polymoe::spec {
  using scalar = double;
  using router = top_k<K>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
};
struct by_sigmoid : polymoe::spec {
  using scalar = float;
  using router = top_k<2, score::sigmoid>;
  using capacity = polymoe::capacity::bounded<overflow::reroute<2>, polymoe::priority::gate>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::loss_free_bias;
};

/// Runs routing of random input, checks everything against the reference, returns the drop rate.
template <int K>
double check_routing(int E, int T, int group_size, float factor, std::optional<index> absolute, bool padded) {
  constexpr int D = 3;
  using Module = routing<by_softmax<K>, cpu>;
  typename Module::config c;
  c.dim = D, c.experts = E, c.group_size = group_size, c.padded = padded;
  c.capacity.factor = factor, c.capacity.absolute = absolute;
  workspace<Module> w(Module(c), {.max_rows = T + 2, .threads = 2, .seed = 5});
  randomise_parameters(w, static_cast<std::uint64_t>(E), 1.5);
  tensor<double> x(T, D);
  x.randomise(static_cast<std::uint64_t>(T + K));
  w.module().forward(w.ctx(), x.get(), w.saved());
  const auto& p = w.saved().plan;
  const auto& s = w.saved().stats;
  INFO("T ", T, " E ", E, " K ", K, " group_size ", group_size, " factor ", factor, " absolute ", absolute.value_or(-1),
       " padded ", padded);
  REQUIRE(plan_violation(p) == "");
  reference r;
  r.dim = D, r.experts = E, r.out = D, r.k = K, r.group_size = group_size, r.expert = reference::expert_kind::identity;
  const index group = group_size ? std::min(group_size, std::max(T, 1)) : std::max(T, 1);
  r.capacity = static_cast<int>(c.capacity.slots({group, E, K, true}));
  const auto want = r.forward({{"router.weight", values_of(w).at("weight")}}, rows_of(x));
  REQUIRE(s.choices == want.choices);
  REQUIRE(s.choices - s.placed == want.dropped);
  REQUIRE(s.overflow == 0);
  REQUIRE(s.bad_rows == 0);
  double entropy = 0, margin = 0;
  std::vector<index> wished(static_cast<std::size_t>(E), 0), served = wished;
  for (int t = 0; t < T; ++t) {
    for (int j = 0; j < K; ++j) {
      const int by = want.places.expert[t][j];
      ++wished[want.wish[t][j]];
      REQUIRE(p.expert_of[t * K + j] == by);
      if (by < 0) continue;
      ++served[by];
      REQUIRE(p.gate.get(0, p.slot_of[t * K + j]) == doctest::Approx(want.weight[t][j]).epsilon(1e-12));
    }
    auto ordered = want.scores[t];
    for (const double q : ordered) entropy -= q > 0 ? q * std::log(q) / T : 0;
    std::sort(ordered.rbegin(), ordered.rend());
    margin += E > 1 ? (ordered[0] - ordered[1]) / T : 0;
  }
  for (int e = 0; e < E; ++e) REQUIRE((s.wished[e] == wished[e] && s.served[e] == served[e]));
  if (T > 0) {
    CHECK(s.entropy == doctest::Approx(entropy).epsilon(1e-5));
    CHECK(s.margin == doctest::Approx(margin).epsilon(1e-9));
  }
  return s.drop_rate();
}
template <int K>
void check_sizes() {
  constexpr std::nullopt_t none = std::nullopt;
  for (const int E : {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14,  15,
                      16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000}) {
    if (K > E) continue;
    CHECK(check_routing<K>(E, 29, 0, 1.0f, none, false) >= 0);
    check_routing<K>(E, 29, 8, 1.25f, none, true);
    check_routing<K>(E, 7, 1, 1.0f, 1, true);
    check_routing<K>(E, 1, 0, 0.1f, none, false);
    check_routing<K>(E, 0, 0, 1.0f, none, E % 2 == 0);
    CHECK(check_routing<K>(E, 20, 100, 1e6f, none, true) == 0);
  }
}

}  // namespace

TEST_CASE("routing against the reference for every E: K = 1") { check_sizes<1>(); }
TEST_CASE("routing against the reference for every E: K = 2") { check_sizes<2>(); }
TEST_CASE("routing against the reference for every E: K = 3") { check_sizes<3>(); }
TEST_CASE("routing against the reference for every E: K = 4") { check_sizes<4>(); }
TEST_CASE("routing against the reference for every E: K = 5") { check_sizes<5>(); }
TEST_CASE("routing against the reference for every E: K = 6") { check_sizes<6>(); }
TEST_CASE("routing against the reference for every E: K = 7") { check_sizes<7>(); }
TEST_CASE("routing against the reference for every E: K = 8") { check_sizes<8>(); }
TEST_CASE("routing against the reference: K = E from 9 to 16, every expert chosen by every unit") {
  [&]<int... K>(std::integer_sequence<int, K...>) {
    const auto check = []<int E>(std::integral_constant<int, E>) {
      CHECK(check_routing<E>(E, 29, 8, 1.0f, std::nullopt, true) == 0);
      CHECK(check_routing<E>(E, 29, 0, 0.5f, std::nullopt, false) > 0.4);
    };
    (check(std::integral_constant<int, 9 + K>{}), ...);
  }(std::make_integer_sequence<int, 8>{});
}

TEST_CASE("a capacity of a tenth drops what it must and the measured rate says so") {
  // 60 units, 4 experts, K = 1: ceil(1.5) = 2 places each.
  const double rate = check_routing<1>(4, 60, 0, 0.1f, std::nullopt, false);
  CHECK(rate >= 52.0 / 60 - 1e-12);
  CHECK(rate < 1);
}

TEST_CASE("a winner planted at each of 1000 experts wins") {
  using Module = routing<by_softmax<1>, cpu>;
  typename Module::config c;
  c.dim = 1000, c.experts = 1000;
  c.capacity.absolute = 1;
  workspace<Module> w(Module(c), {.max_rows = 1000, .threads = 2});
  std::vector<double> identity(1000 * 1000, 0.0);
  for (std::size_t e = 0; e < 1000; ++e) identity[e * 1001] = 1;
  set_parameter(w, "weight", identity);
  tensor<double> x(1000, 1000, 0.0);
  for (index t = 0; t < 1000; ++t) x.put(t, (t * 7 + 3) % 1000, 1);
  w.module().forward(w.ctx(), x.get(), w.saved());
  for (int t = 0; t < 1000; ++t) REQUIRE(w.saved().plan.expert_of[t] == (t * 7 + 3) % 1000);
  CHECK(w.saved().stats.drop_rate() == 0);
  CHECK(w.saved().stats.dead_experts() == 0);
  CHECK(w.saved().stats.load_cv() == doctest::Approx(0));
}

TEST_CASE("all-equal logits choose experts 0..K-1, also with a router of zeros") {
  using Module = routing<by_softmax<3>, cpu>;
  typename Module::config c;
  c.dim = 2, c.experts = 7;
  c.capacity.absolute = 4;
  workspace<Module> w(Module(c), {.max_rows = 6});
  set_parameter(w, "weight", std::vector<double>(14, 0.0));
  tensor<double> x(6, 2);
  w.module().forward(w.ctx(), x.randomise(1).get(), w.saved());
  for (int t = 0; t < 6; ++t)
    for (int j = 0; j < 3; ++j) CHECK(w.saved().plan.expert_of[3 * t + j] == (t < 4 ? j : -1));
  CHECK(w.saved().stats.drop_rate() == doctest::Approx(6.0 / 18));
  CHECK(w.saved().stats.load_max_over_mean() == doctest::Approx(7.0 / 3));
  // Loads of 6 for 3 of 7 experts: mean 18/7, mean of squares 3 * 36 / 7, so cv^2 = 7/3 - 1 = 12/9.
  CHECK(w.saved().stats.load_cv() == doctest::Approx(std::sqrt(12.0) / 3));
  CHECK(w.saved().stats.dead_experts() == 4);
  CHECK(w.saved().stats.entropy == doctest::Approx(std::log(7.0)).epsilon(1e-6));
}

TEST_CASE("evaluation uses its own capacity and draws no noise") {
  using Module = routing<by_softmax<1>, cpu>;
  typename Module::config c;
  c.dim = 2, c.experts = 4, c.padded = true;
  c.capacity.factor = 0.5f, c.capacity.eval_factor = 4.0f;
  workspace<Module> w(Module(c), {.max_rows = 16});
  tensor<double> x(16, 2);
  x.randomise(3);
  w.module().forward(w.ctx(), x.get(), w.saved());
  CHECK(w.saved().plan.capacity == 2);
  CHECK(w.saved().stats.drop_rate() >= 0.5);
  w.ctx().mode = polymoe::run_mode::eval;
  w.module().forward(w.ctx(), x.get(), w.saved());
  CHECK(w.saved().plan.capacity == 16);
  CHECK(w.saved().stats.drop_rate() == 0);
  CHECK(plan_violation(w.saved().plan) == "");
}

TEST_CASE("evaluation uses its own absolute capacity, for which memory is bound") {
  using Module = routing<by_softmax<1>, cpu>;
  for (const bool padded : {false, true})
    for (const auto& [training, evaluation] : {std::pair<index, index>{2, 16}, {16, 2}}) {
      typename Module::config c;
      c.dim = 2, c.experts = 4, c.padded = padded;
      c.capacity.absolute = training, c.capacity.eval_absolute = evaluation;
      workspace<Module> w(Module(c), {.max_rows = 16});
      tensor<double> x(16, 2);
      x.randomise(3);
      for (const auto mode : {polymoe::run_mode::train, polymoe::run_mode::eval}) {
        const index slots = mode == polymoe::run_mode::train ? training : evaluation;
        w.ctx().mode = mode;
        w.module().forward(w.ctx(), x.get(), w.saved());
        CHECK(w.saved().plan.capacity == slots);
        if (slots == 2) CHECK(w.saved().stats.drop_rate() >= 0.5);
        else CHECK(w.saved().stats.drop_rate() == 0);
        CHECK(plan_violation(w.saved().plan) == "");
      }
    }
}

TEST_CASE("rows that are not finite have no place and count nowhere") {
  using Module = routing<by_sigmoid, cpu>;
  typename Module::config c;
  c.dim = 4, c.experts = 5;
  workspace<Module> w(Module(c), {.max_rows = 12});
  for (const double bad : {not_a_number, HUGE_VAL, -HUGE_VAL}) {
    tensor<float> x(12, 4);
    x.randomise(8);
    x.put(0, 1, bad), x.put(7, 3, bad);
    std::fill(w.state().begin(), w.state().end(), 0.0f);
    w.module().forward(w.ctx(), x.get(), w.saved());
    const auto& s = w.saved().stats;
    CHECK(plan_violation(w.saved().plan) == "");
    CHECK(s.bad_rows == 2);
    CHECK(s.choices == 20);
    CHECK(std::isfinite(s.entropy));
    for (int t : {0, 7})
      for (int j = 0; j < 2; ++j)
        CHECK((w.saved().plan.slot_of[2 * t + j] == -1 && w.saved().plan.expert_of[2 * t + j] == -1));
    double mass = 0, load = 0;
    for (int e = 0; e < 5; ++e) mass += s.gate_mass[e], load += static_cast<double>(s.wished[e]);
    CHECK(std::isfinite(mass));
    CHECK(load == 20);
  }
  tensor<float> all(12, 4, not_a_number);
  w.module().forward(w.ctx(), all.get(), w.saved());
  CHECK(w.saved().stats.bad_rows == 12);
  CHECK(w.saved().stats.drop_rate() == 0);
  CHECK(plan_violation(w.saved().plan) == "");
}

TEST_CASE("loss-free bias: forward only counts, commit moves by the rate, evaluation leaves everything alone") {
  using Module = routing<by_sigmoid, cpu>;
  typename Module::config c;
  c.dim = 4, c.experts = 5;
  c.balance.first.rate = 0.25f;
  c.capacity.factor = 10;
  workspace<Module> w(Module(c), {.max_rows = 40, .threads = 1, .seed = 2});
  REQUIRE(w.state_entries().size() == 2);
  CHECK(w.state_entries()[0].name == "bias");
  CHECK(w.state_entries()[1].name == "load");
  const auto state = [&](int entry, int e) {
    return w.state()[static_cast<std::size_t>(w.state_entries()[static_cast<std::size_t>(entry)].offset + e)];
  };
  tensor<float> x(40, 4);
  x.randomise(9);
  w.module().forward(w.ctx(), x.get(), w.saved());
  std::vector<double> load(5);
  for (int e = 0; e < 5; ++e) load[static_cast<std::size_t>(e)] = static_cast<double>(w.saved().stats.wished[e]);
  w.step().micro = 1;
  w.module().forward(w.ctx(), x.get(), w.saved());
  for (int e = 0; e < 5; ++e) {
    CHECK(state(0, e) == 0);
    CHECK(state(1, e) == 2 * load[static_cast<std::size_t>(e)]);
  }
  w.module().commit(w.ctx());
  for (int e = 0; e < 5; ++e) {
    const double l = load[static_cast<std::size_t>(e)];
    CHECK(state(0, e) == (l < 16 ? 0.25f : l > 16 ? -0.25f : 0.0f));
    CHECK(state(1, e) == 0);
  }
  const std::vector<float> before = w.state_on_host();
  w.ctx().mode = polymoe::run_mode::eval;
  w.module().forward(w.ctx(), x.get(), w.saved());
  CHECK(w.state_on_host() == before);
  // The gate is the score without the bias.
  const auto& p = w.saved().plan;
  for (int t = 0; t < 40; ++t) {
    double chosen = 0;
    for (int j = 0; j < 2; ++j) chosen += static_cast<double>(w.saved().scores.get(t, w.saved().place.wish[2 * t + j]));
    for (int j = 0; j < 2; ++j)
      if (p.expert_of[2 * t + j] == w.saved().place.wish[2 * t + j])
        CHECK(p.gate.get(0, p.slot_of[2 * t + j]) ==
              doctest::Approx(static_cast<double>(w.saved().scores.get(t, p.expert_of[2 * t + j])) / chosen)
                  .epsilon(1e-4));
  }
}

TEST_CASE("loss-free bias stays where it is when every expert has the same load, for any E and load") {
  using Module = routing<by_sigmoid, cpu>;
  for (int E = 2; E <= 120; ++E) {
    typename Module::config c;
    c.dim = 1, c.experts = E;
    workspace<Module> w(Module(c), {.max_rows = 1});
    for (const float load : {1.0f, 7.0f, 1023.0f, 65535.0f}) {
      for (int e = 0; e < E; ++e) w.state()[static_cast<std::size_t>(w.state_entries()[1].offset + e)] = load;
      w.module().commit(w.ctx());
      for (int e = 0; e < E; ++e) REQUIRE(w.state()[static_cast<std::size_t>(e)] == 0.0f);
    }
  }
}

TEST_CASE("the bias evens the load out over steps") {
  using Module = routing<by_sigmoid, cpu>;
  typename Module::config c;
  c.dim = 4, c.experts = 6;
  c.balance.first.rate = 0.004f;
  c.capacity.factor = 10;
  workspace<Module> w(Module(c), {.max_rows = 300, .threads = 1, .seed = 4});
  randomise_parameters(w, 4, 2);
  tensor<float> x(300, 4);
  x.randomise(10);
  w.module().forward(w.ctx(), x.get(), w.saved());
  const double before = w.saved().stats.load_cv();
  for (int step = 0; step < 150; ++step) {
    w.step().step = step;
    w.module().forward(w.ctx(), x.get(), w.saved());
    w.module().commit(w.ctx());
  }
  CHECK(w.saved().stats.load_cv() < 0.4 * before);
}

}  // namespace moe_test
