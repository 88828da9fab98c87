// The CUDA router with the policies that ask most of it, against the CPU backend: learned and constant noise,
// thresholds and clean scores, the loss-free bias, fallback and rerouting with balance losses, mixtures.
// timeout: 600
// with: route
#include "route_harness.hpp"

namespace {
using namespace route_test;
namespace loss = polymoe::balance;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;

/// Everything at once: learned noise, both thresholds, clean scores, a bias for the selection.
template <class T>
struct noisy : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<4, score::noisy_learned<>>;
  using capacity = polymoe::capacity::bounded<overflow::fallback>;
  using combine = polymoe::combine::renormalised<>;
  using balance = loss::sum<loss::importance, loss::load_shazeer, loss::load, loss::loss_free_bias>;
};
struct constant_noise : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<2, score::noisy_constant<score::sigmoid>>;
  using capacity = polymoe::capacity::bounded<overflow::reroute<2>>;
  using balance = loss::sum<loss::importance, loss::load>;
};
template <class T>
struct mixed : polymoe::spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using combine = polymoe::combine::renormalised<>;
  using balance = loss::sum<loss::kl_from_uniform, loss::kl_to_uniform>;
};
}  // namespace

TEST_CASE("router: learned noise, loads, bias and fallback") {
  tally n;
  for (const int E : {4, 5, 33, 260})
    for (const run_mode mode : {run_mode::train, run_mode::eval})
      check<noisy<double>, 1024>({.T = 70,
                                  .E = E,
                                  .group_size = 35,
                                  .factor = 0.5f,
                                  .kind = E == 5 ? inputs::bad : inputs::random,
                                  .mode = mode,
                                  .seed = 8,
                                  .repeat = E < 40},
                                 n);
  check<noisy<double>, 1024>({.T = 0, .E = 4, .seed = 8}, n);
  CHECK(n.overflow > 100);
  tally f;
  for (const int E : {4, 31}) check<noisy<float>, 32>({.T = 65, .E = E, .D = 20, .factor = 0.5f, .seed = 9}, f);
  CHECK(f.differing_wishes <= 2);
}
TEST_CASE("router: constant noise and rerouting") {
  tally n;
  for (const int E : {2, 9, 31})
    check<constant_noise, 32>({.T = 130, .E = E, .group_size = 50, .factor = 0.6f, .seed = 10}, n);
  CHECK(n.moved > 20);
}
TEST_CASE("router: mixtures") {
  tally n;
  for (const int E : {1, 2, 33})
    for (const int T : {0, 1, 65})
      check<mixed<double>, 64>({.T = T, .E = E, .group_size = 40, .kind = inputs::bad, .seed = 11}, n);
  check<mixed<double>, 64>({.T = 200, .E = 8, .mode = run_mode::eval, .seed = 12}, n);
  tally f;
  check<mixed<float>, 32>({.T = 65, .E = 12, .seed = 11}, f);
  CHECK(f.calls == 1);
}
