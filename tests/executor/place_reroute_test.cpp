// Places given by the CUDA router where what has no place proposes again, in rounds; see place_kernel_test.cpp.
// timeout: 600
// with: place
#include "place_cases.hpp"

namespace {
using namespace route_test;
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;

/// The bias of the selection lets a unit's choices stand in another order than their scores.
template <class Priority>
struct biased : placed<3, overflow::reroute<2>, Priority> {
  using balance = polymoe::balance::loss_free_bias;
};
}  // namespace

TEST_CASE("places: reroute in one round") { every_priority<overflow::reroute<1>, 1>(); }
TEST_CASE("places: reroute in three rounds") { every_priority<overflow::reroute<3>, 4>(); }

TEST_CASE("places: choices that do not stand in the order of their scores") {
  tally n;
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    check<biased<priority::gate>, 32, false>(
        {.T = 90, .E = 9, .group_size = 40, .factor = 0.6f, .seed = seed, .repeat = false}, n);
    check<biased<priority::probability>, 32, false>({.T = 90, .E = 9, .group_size = 40, .factor = 0.6f, .seed = seed},
                                                    n);
  }
  CHECK(n.moved > 20);
}
