// Experts that pick their units on CUDA under the host executor against the CPU backend: plans number for number,
// weights, statistics, balance losses and gradients; the same bits from every grid.
// timeout: 600
// with: columns
#include "columns_harness.hpp"

namespace {
using namespace columns_test;
namespace loss = polymoe::balance;
namespace score = polymoe::score;

template <class T>
struct choice_spec : bounded_spec<T, polymoe::expert_choice<>> {
  using balance = loss::sum<loss::importance, loss::z_loss>;
  static constexpr int most_experts = sizeof(T) == 8 ? 64 : 32;
};
/// Noise in training, weights that depend on all experts of a unit, every unit for every expert.
struct noisy_spec : polymoe::spec {
  using scalar = double;
  using router = polymoe::expert_choice<score::noisy_learned<score::sigmoid>>;
  using combine = polymoe::combine::renormalised<>;
  using balance = loss::importance;
  static constexpr int most_experts = 32;
};
struct relu_spec : bounded_spec<double, polymoe::positive<>> {
  using balance = loss::sum<loss::relu_l1, loss::importance>;
};
struct free_relu_spec : polymoe::spec {
  using scalar = float;
  using router = polymoe::positive<>;
  using combine = polymoe::combine::renormalised<>;
  static constexpr int most_experts = 32;
};
/// Rows of more than 256 experts are spread over a block.
struct wide_spec : bounded_spec<double, polymoe::expert_choice<>> {
  static constexpr int most_experts = 1024;
};
using bounded = polymoe::capacity::bounded<>;
static_assert(polymoe::route_launches<polymoe::expert_choice<>, bounded>(true) == 3);
static_assert(polymoe::route_launches<polymoe::expert_choice<>, bounded>(false) == 5);
static_assert(polymoe::route_backward_launches<polymoe::positive<>>() == 3);
}  // namespace

TEST_CASE("expert choice: sizes around tiles and warps, groups, padded plans, ties, bad units") {
  std::uint64_t seed = 0;
  for (const int units : {0, 1, 63, 65, 130})
    for (const int experts : {1, 3, 8, 33}) {
      const inputs kind = experts == 3 ? inputs::ties : experts == 8 ? inputs::bad : inputs::random;
      pair_of_backends<choice_spec<double>>({.units = units,
                                             .experts = experts,
                                             .group_size = units == 130 ? 50 : 0,
                                             .padded = units % 2 == 1,
                                             .factor = experts == 33 ? 3.0f : 1.3f,
                                             .kind = kind,
                                             .mode = experts == 1 ? run_mode::eval : run_mode::train,
                                             .seed = ++seed});
    }
  pair_of_backends<choice_spec<double>> equal({.units = 70, .experts = 4, .kind = inputs::equal, .seed = 90});
  CHECK(equal.device().counts[7] > 0);  // the later units find every expert full
  pair_of_backends<choice_spec<double>>(
      {.units = 40, .experts = 4, .group_size = 16, .kind = inputs::all_bad, .seed = 91});
  pair_of_backends<choice_spec<double>>(
      {.units = 30, .experts = 5, .group_size = 16, .padded = true, .seed = 92, .max_units = 100});
}
TEST_CASE("expert choice in float") {
  pair_of_backends<choice_spec<float>>({.units = 130, .experts = 12, .factor = 2, .seed = 3});
  pair_of_backends<choice_spec<float>>(
      {.units = 90, .experts = 7, .group_size = 32, .padded = true, .kind = inputs::bad, .seed = 4});
}
TEST_CASE("expert choice: learned noise, renormalised weights, no bound") {
  pair_of_backends<noisy_spec> p({.units = 70, .experts = 5, .group_size = 35, .kind = inputs::bad, .seed = 5});
  CHECK(p.replays());
  pair_of_backends<noisy_spec>({.units = 33, .experts = 9, .mode = run_mode::eval, .seed = 6});
}
TEST_CASE("positive scores: with and without a bound, and the loss that adapts") {
  pair_of_backends<relu_spec> a(
      {.units = 90, .experts = 6, .group_size = 40, .kind = inputs::bad, .scale = 2, .seed = 7});
  CHECK(a.device().counts[3] < a.device().counts[2]);  // places ran out
  CHECK(a.device().state[0] != 0.01f);
  pair_of_backends<relu_spec>({.units = 64, .experts = 3, .factor = 3, .mode = run_mode::eval, .seed = 8});
  pair_of_backends<relu_spec>({.units = 0, .experts = 3, .seed = 8});
  pair_of_backends<free_relu_spec> b({.units = 65, .experts = 8, .seed = 9});
  CHECK(b.device().counts[8] < b.device().counts[9]);  // some units have fewer experts than others
}
TEST_CASE("expert choice: a column too long for a warp, a row too long for one") {
  pair_of_backends<choice_spec<double>>({.units = 1030, .experts = 2, .kind = inputs::ties, .seed = 10});
  pair_of_backends<wide_spec>({.units = 20, .experts = 300, .factor = 40, .seed = 11});
}
