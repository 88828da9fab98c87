// Whole layers on CUDA under the host executor against the CPU backend: experts that pick units, by thresholds too,
// plans of groups, the loss that adapts; and experts that follow a plan of no router.
// timeout: 900
// with: layers
#include "layer_harness.hpp"

#include <polymoe/backend/cuda/dispatch/invert.cuh>

// The example's own text, without its program.
#define main run_custom_plan
#include <custom_plan.cpp>
#undef main

namespace {
using namespace layer_test;
namespace act = polymoe::act;
namespace score = polymoe::score;

template <class T, class Router>
struct column_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
  using capacity = polymoe::capacity::bounded<>;
  static constexpr int most_experts = 32;
};
struct picked_layer : column_spec<double, polymoe::expert_choice<>> {
  using balance = polymoe::balance::importance;
};
struct planned : column_spec<float, polymoe::expert_choice<score::sinkhorn<score::by_plan>>> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using expert = polymoe::expert::head<act::relu>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop_to_zero>;
};
struct relu_routed : column_spec<float, polymoe::positive<>> {
  using capacity = polymoe::capacity::unlimited;
  using balance = polymoe::balance::relu_l1;
  using save = polymoe::save::without_output<polymoe::save::nothing>;
};
struct thresholded : column_spec<float, polymoe::strictly_balanced<>> {
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
};
}  // namespace

TEST_CASE("layers of experts that pick on CUDA: packed, and padded through batched products") {
  both<picked_layer> a({.units = 70, .group_size = 32, .with_bad = true, .factor = 1.4f, .seed = 41});
  both<picked_layer>({.units = 60, .dim = 32, .hidden = 48, .group_size = 32, .padded = true, .seed = 42});
  both<picked_layer>({.units = 0, .seed = 43, .max_units = 20});
}
TEST_CASE("layers of group plans on CUDA: heads on images") {
  both<planned>({.units = 40, .experts = 4, .classes = 7, .unit_rows = 3, .factor = 2, .seed = 44});
}
TEST_CASE("layers of positive scores on CUDA: no outputs kept, the coefficient adapts") {
  both<relu_routed>({.units = 65, .experts = 5, .seed = 45});
}
TEST_CASE("layers of learned thresholds on CUDA: thresholds of every expert's own, in training and evaluation") {
  for (const auto mode : {run_mode::train, run_mode::eval})
    both<thresholded>(
        {.units = 65, .experts = 5, .with_bad = true, .shift_load = true, .factor = 2, .mode = mode, .seed = 46});
}
TEST_CASE("a plan of one's own on CUDA: the example's experts follow masks and learn as on the CPU") {
  const std::vector<double> host = learn_by_masks<polymoe::cpu>(6),
                            device = learn_by_masks<polymoe::cuda>(6);
  for (std::size_t i = 0; i < host.size(); ++i) CHECK(device[i] == doctest::Approx(host[i]).epsilon(1e-4));
  CHECK(device.back() < 0.9 * device.front());
}
