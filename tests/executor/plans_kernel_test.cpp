// Sinkhorn plans on CUDA under the host executor against the CPU backend: units that choose, experts that pick and
// mixtures, gates of the scores or of the plan, one block a group and several.
// timeout: 600
// with: column_plans
#include "columns_harness.hpp"

namespace {
using namespace columns_test;
namespace loss = polymoe::balance;
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;
namespace score = polymoe::score;

using by_plan = score::sinkhorn<score::by_plan>;
template <class T>
struct token_choice : bounded_spec<T, polymoe::top_k<2, score::sinkhorn<>>> {
  using balance = loss::importance;
  static constexpr int most_experts = 64;
};
using rerouted = bounded_spec<double, polymoe::top_k<3, score::noisy_constant<by_plan>>, overflow::reroute<2>>;
using by_gate = bounded_spec<double, polymoe::top_k<2, score::sinkhorn<>>, overflow::fallback, priority::gate>;
struct clean_gates
    : bounded_spec<double, polymoe::top_k<2, score::noisy_constant<score::sinkhorn<score::by_clean_score>>>,
                   overflow::drop, priority::random> {
  using balance = loss::importance;
};
using by_probability = bounded_spec<double, polymoe::top_k<2, by_plan>, overflow::identity, priority::probability>;
template <class T>
struct picked_by_plan : bounded_spec<T, polymoe::expert_choice<by_plan>> {
  using balance = loss::importance;
};
using picked_plan = bounded_spec<double, polymoe::expert_choice<score::noisy_constant<score::sinkhorn<>>>>;
struct mixed_plan : polymoe::spec {
  using scalar = double;
  using router = polymoe::mixture<by_plan>;
  using combine = polymoe::combine::renormalised<>;
  static constexpr int most_experts = 32;
};
using bounded_plan = polymoe::capacity::bounded<>;
static_assert(polymoe::route_launches<polymoe::top_k<2, by_plan>, bounded_plan>(true) == 3);
static_assert(polymoe::route_launches<polymoe::top_k<2, by_plan>, bounded_plan>(false) == 6);
static_assert(polymoe::route_launches<polymoe::expert_choice<by_plan>, bounded_plan>(true) == 4);
static_assert(polymoe::route_backward_launches<polymoe::top_k<2, by_plan>>() == 5);
static_assert(polymoe::route_backward_launches<polymoe::top_k<2, score::sinkhorn<>>>() == 3);

template <class Spec>
typename Spec::router iterated(int n, float tolerance = 0) {
  typename Spec::router r;
  r.iterations = n;
  if constexpr (requires { r.tolerance; }) r.tolerance = tolerance;
  return r;
}
template <class Spec>
void check_plans(const setup& s, int iterations = 5, float tolerance = 0) {
  pair_of_backends<Spec> p(s, iterated<Spec>(iterations, tolerance));
}
}  // namespace

TEST_CASE("Sinkhorn token choice: sizes, groups, bad units, equal logits, no iterations, a tolerance") {
  std::uint64_t seed = 0;
  for (const int units : {0, 1, 33, 65})
    for (const int experts : {2, 5, 33})
      check_plans<token_choice<double>>({.units = units,
                                         .experts = experts,
                                         .group_size = units == 65 ? 40 : 0,
                                         .padded = units % 2 == 0,
                                         .kind = experts == 5 ? inputs::bad : inputs::random,
                                         .scale = 3,
                                         .seed = ++seed},
                                        static_cast<int>(units % 4) * 3);
  check_plans<token_choice<double>>({.units = 40, .experts = 4, .kind = inputs::equal, .seed = 21});
  check_plans<token_choice<double>>({.units = 40, .experts = 4, .group_size = 20, .kind = inputs::all_bad, .seed = 22});
  check_plans<token_choice<double>>({.units = 50, .experts = 4, .mode = run_mode::eval, .scale = 3, .seed = 23}, 200,
                                    1e-3f);
  check_plans<token_choice<float>>({.units = 66, .experts = 6, .factor = 2, .seed = 24});
}
TEST_CASE("Sinkhorn plans as gates: rerouting, fallback by gate, the unit itself by probability, mixtures") {
  check_plans<rerouted>({.units = 70, .experts = 5, .group_size = 35, .factor = 0.8f, .kind = inputs::bad, .seed = 25});
  check_plans<by_gate>({.units = 60, .experts = 5, .group_size = 32, .factor = 0.5f, .seed = 26});
  check_plans<by_probability>({.units = 60, .experts = 5, .group_size = 32, .factor = 0.5f, .seed = 27});
  check_plans<mixed_plan>({.units = 45, .experts = 6, .group_size = 20, .kind = inputs::bad, .seed = 28});
}
TEST_CASE("Sinkhorn gates of the clean logits, places at random; in evaluation the largest logits by position") {
  check_plans<clean_gates>(
      {.units = 70, .experts = 5, .group_size = 33, .factor = 0.8f, .kind = inputs::bad, .scale = 3, .seed = 35});
  auto greedy = iterated<clean_gates>(5);
  greedy.greedy_evaluation = true;
  const setup s{.units = 60, .experts = 5, .factor = 0.8f, .mode = run_mode::eval, .scale = 3, .seed = 36};
  pair_of_backends<clean_gates> a(s, greedy);
  CHECK_FALSE(a.host().same_plan(pair_of_backends<clean_gates>(s, iterated<clean_gates>(5)).host()));
}
TEST_CASE("Sinkhorn expert choice, with the gradient through the iterations and without") {
  for (const int iterations : {0, 1, 7})
    check_plans<picked_by_plan<double>>(
        {.units = 70, .experts = 6, .group_size = 33, .kind = inputs::bad, .scale = 2, .seed = 30}, iterations);
  pair_of_backends<picked_by_plan<double>> p({.units = 70, .experts = 6, .group_size = 33, .seed = 29},
                                             iterated<picked_by_plan<double>>(4));
  CHECK(p.replays());
  check_plans<picked_by_plan<double>>({.units = 40, .experts = 1, .seed = 31});
  check_plans<picked_by_plan<double>>({.units = 60, .experts = 4, .scale = 2, .seed = 32}, 100, 1e-3f);
  check_plans<picked_by_plan<float>>({.units = 64, .experts = 7, .padded = true, .factor = 2, .seed = 33});
  check_plans<picked_plan>({.units = 90, .experts = 6, .group_size = 40, .kind = inputs::bad, .seed = 34});
}
TEST_CASE("a group that several blocks share has the bits of one block") {
  // More cells than one block takes; plan_whole of tuning/route.hpp.
  check_plans<picked_by_plan<double>>({.units = 270, .experts = 31, .kind = inputs::bad, .scale = 2, .seed = 40}, 4);
  check_plans<token_choice<double>>({.units = 280, .experts = 60, .group_size = 140, .scale = 2, .seed = 41}, 300,
                                    0.05f);
}
