// The CUDA router, run on the CPU by the host executor, against the CPU backend: logits, scores, wishes, plan, weights,
// balance losses, statistics and all gradients, for every row tier, in double, float and bf16.  The policies are in
// route_policies_test.cpp, the ways to give places in place_kernel_test.cpp.
// timeout: 600
// with: route
#include "route_harness.hpp"

// The example's own text; of its program only the router is used.
#define main run_custom_router
#include <custom_router.cpp>
#undef main

namespace {
using namespace route_test;
namespace loss = polymoe::balance;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;

template <class T, int K>
struct plain : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<K>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using balance = loss::sum<loss::switch_loss, loss::z_loss>;
};
/// The router of examples/custom_router.cpp: nothing in it knows about lanes.
struct custom : polymoe::spec {
  using scalar = double;
  using router = priced_sigmoid;
};
}  // namespace

TEST_CASE("router: every row tier, double") {
  tally n;
  for (const int E : {2, 3, 8, 31, 32, 33, 64, 65}) {
    check<plain<double, 2>, 1024>(
        {.T = 130, .E = E, .D = 5, .factor = 0.8f, .seed = static_cast<std::uint64_t>(E), .repeat = E < 40}, n);
    check<plain<double, 2>, 1024>(
        {.T = 63, .E = E, .D = 17, .group_size = 20, .padded = true, .kind = inputs::bad, .seed = 2}, n);
  }
  // Wide rows keep the fibers busy: one of each.
  check<plain<double, 2>, 1024>({.T = 65, .E = 257, .D = 5, .factor = 0.5f, .seed = 3}, n);
  check<plain<double, 2>, 1024>({.T = 65, .E = 129, .D = 33, .kind = inputs::ties, .seed = 3}, n);
  check<plain<double, 2>, 1024>(
      {.T = 67, .E = 1000, .D = 4, .group_size = 65, .padded = true, .kind = inputs::bad, .seed = 4}, n);
  CHECK(n.dropped > 100);
}
TEST_CASE("router: float, wishes apart only where scores are equal to rounding") {
  tally n;
  for (const int E : {2, 8, 33, 64})
    for (const inputs kind : {inputs::random, inputs::bad})
      check<plain<float, 2>, 64>({.T = 66, .E = E, .D = 40, .factor = 0.8f, .kind = kind, .seed = 6, .repeat = E < 40},
                                 n);
  check<plain<float, 2>, 64>({.T = 700, .E = 8, .D = 12, .seed = 6, .repeat = false}, n);
  CHECK(n.differing_wishes <= 2);
}
TEST_CASE("router: a bf16 input has logits as exact as a float one") {
  tally n;
  for (const int E : {4, 31})
    check<plain<polymoe::bf16, 2>, 32>({.T = 65, .E = E, .D = 40, .factor = 0.8f, .kind = inputs::bad, .seed = 7}, n);
  CHECK(n.differing_wishes <= 2);
}
TEST_CASE("router: a single expert, and as many choices as experts") {
  tally n;
  check<plain<double, 1>, 32, false>({.T = 65, .E = 1, .seed = 13}, n);
  check<plain<double, 3>, 32>({.T = 65, .E = 3, .factor = 0.7f, .seed = 13}, n);
}
TEST_CASE("router: many tiles in one group, where sums take a warp") {
  tally n;
  check<plain<double, 3>, 32>(
      {.T = 1300, .E = 5, .D = 3, .factor = 0.9f, .kind = inputs::bad, .seed = 14, .repeat = false}, n);
  CHECK(n.dropped > 0);
}
TEST_CASE("router: a router of a user runs unchanged") {
  tally n;
  for (const int E : {2, 8, 40})
    check<custom, 64>({.T = 66, .E = E, .kind = inputs::bad, .seed = 15}, n, {.price = 0.1f});
}
TEST_CASE("router: a temperature that is not positive routes nothing") {
  polymoe::step_state step;
  polymoe::route_args<float> a;
  a.step = &step;
  CHECK(polymoe::route_values_of(a).inverse_temperature == 1.0f);
  for (const float t : {0.0f, -1.0f, std::nanf("")}) {
    step.temperature = t;
    CHECK(std::isnan(polymoe::route_values_of(a).inverse_temperature));
  }
}
