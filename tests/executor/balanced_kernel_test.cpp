// Routers that balance on CUDA under the host executor against the CPU backend: thresholds learned in training and used
// in evaluation, balanced assignment; plans number for number, state, the same bits from every grid and from a graph.
// timeout: 600
// with: columns
#include "columns_harness.hpp"

namespace {
using namespace columns_test;
namespace score = polymoe::score;

template <class T>
struct threshold_spec : bounded_spec<T, polymoe::strictly_balanced<>> {
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
  using balance = polymoe::balance::z_loss;
};
template <class T, class Capacity = polymoe::capacity::unlimited>
struct assigned_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<1, score::balanced_assignment<>>;
  using capacity = Capacity;
  static constexpr int most_experts = 32;
};

polymoe::strictly_balanced<> begins_at(float first) {
  polymoe::strictly_balanced<> r;
  r.threshold_rate = 0.3f, r.first_threshold = first;
  return r;
}
template <class Spec>
pair_of_backends<Spec> assign(const setup& s, float tolerance, int rounds = 100000, bool greedy = true) {
  typename Spec::router r;
  r.tolerance = tolerance, r.rounds = rounds, r.greedy_evaluation = greedy;
  return pair_of_backends<Spec>(s, r);
}
}  // namespace

TEST_CASE("strictly balanced: training picks by rank, evaluation by thresholds") {
  for (const run_mode mode : {run_mode::train, run_mode::eval})
    for (const int units : {0, 1, 65})
      for (const bool padded : {false, true}) {
        if (padded && units < 65) continue;
        pair_of_backends<threshold_spec<double>> p({.units = units,
                                                    .experts = 5,
                                                    .group_size = padded ? 32 : 0,
                                                    .padded = padded,
                                                    .factor = 1.5f,
                                                    .kind = padded ? inputs::bad : inputs::random,
                                                    .mode = mode,
                                                    .seed = 80},
                                                   begins_at(0.21f));
        if (units < 65) continue;
        // What is wished for is what is above: more than is served somewhere, less than in training elsewhere.
        const bool trains = mode == run_mode::train;
        CHECK((p.device().wished == p.device().served) == trains);
        const std::vector<float> first{0.21f, 0.21f, 0.21f, 0.21f, 0.21f};
        CHECK(std::equal(first.begin(), first.end(), p.device().state.begin()) == !trains);
      }
  for (const run_mode mode : {run_mode::train, run_mode::eval}) {
    pair_of_backends<threshold_spec<double>>(
        {.units = 40, .experts = 4, .group_size = 16, .kind = inputs::all_bad, .mode = mode, .seed = 81},
        begins_at(0.2f));
    pair_of_backends<threshold_spec<float>>({.units = 90, .experts = 6, .group_size = 40, .mode = mode, .seed = 82},
                                            begins_at(0.17f));
  }
}
TEST_CASE("strictly balanced: thresholds of several steps, the CPU's numbers, also from a graph") {
  for (const inputs kind : {inputs::random, inputs::bad, inputs::all_bad}) {
    pair_of_backends<threshold_spec<double>> p(
        {.units = 44, .experts = 4, .group_size = 16, .factor = 1.5f, .kind = kind, .seed = 83}, begins_at(0.1f));
    CHECK(p.state_apart_after(5) == 0);
    CHECK(p.adds_to_state() == (kind != inputs::all_bad));
    CHECK(p.forgets_refused_step());
    if (kind == inputs::random) CHECK(p.replays(4));
  }
}
TEST_CASE("balanced assignment: training by the auction, evaluation greedily or by the auction") {
  using assigned = assigned_spec<double>;
  using dropping = assigned_spec<double, polymoe::capacity::bounded<>>;
  for (const int units : {0, 1, 65}) {
    const inputs kind = units == 65 ? inputs::bad : inputs::random;
    assign<assigned>({.units = units, .experts = 6, .kind = kind, .seed = 84}, 0.05f);
    assign<assigned>({.units = units, .experts = 6, .kind = kind, .mode = run_mode::eval, .seed = 85}, 0.05f);
  }
  const auto by_auction = assign<dropping>({.units = 90, .experts = 4, .group_size = 40, .seed = 86}, 0.05f);
  CHECK(by_auction.device().served == by_auction.device().wished);  // nothing overflows
  const setup evaluated{
      .units = 90, .experts = 4, .group_size = 40, .padded = true, .mode = run_mode::eval, .seed = 86};
  const auto greedy = assign<dropping>(evaluated, 0.05f);
  CHECK(greedy.device().served != greedy.device().wished);
  CHECK(assign<dropping>(evaluated, 0.05f, 100000, false).device().served == by_auction.device().served);
  assign<assigned_spec<float>>({.units = 70, .experts = 8, .kind = inputs::bad, .seed = 87}, 0.05f);
  assign<assigned>({.units = 40, .experts = 4, .group_size = 16, .kind = inputs::all_bad, .seed = 88}, 0.05f);
}
TEST_CASE("balanced assignment: no rounds left; groups of several blocks; from a graph") {
  assign<assigned_spec<double>>({.units = 65, .experts = 6, .kind = inputs::bad, .seed = 89}, 0.01f, 3);
  assign<assigned_spec<double>>({.units = 300, .experts = 30, .kind = inputs::bad, .seed = 90}, 1.0f, 12);
  auto p = assign<assigned_spec<double>>({.units = 44, .experts = 4, .group_size = 16, .seed = 91}, 0.1f);
  CHECK(p.replays());
}
