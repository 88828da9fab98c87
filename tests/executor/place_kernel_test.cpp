// Places given by the CUDA router against the CPU backend, in double: every overflow and every priority, groups, both
// layouts, ties, hot experts, bad rows.  Plans have to be equal number for number.
// timeout: 600
// with: place
#include "place_cases.hpp"

namespace {
using namespace route_test;
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;
}  // namespace

TEST_CASE("places: drop") { every_priority<overflow::drop, 2>(); }
TEST_CASE("places: identity") { every_priority<overflow::identity, 1>(); }
TEST_CASE("places: fallback expert") { every_priority<overflow::fallback, 3>(); }
TEST_CASE("places: eight choices of many units, by position") {
  tally n;
  using spec = placed<8, overflow::drop_to_zero, priority::position>;
  for (const int E : {8, 32})
    check<spec, 32, false>({.T = 200, .E = E, .group_size = 150, .factor = 0.7f, .seed = 8}, n);
  CHECK(n.dropped > 100);
}
TEST_CASE("places: unlimited") {
  tally n;
  for (const int T : {0, 1, 64, 65, 300}) check<dropless<1>, 32, false>({.T = T, .E = 1, .seed = 2}, n);
  for (const int T : {0, 1, 64, 129})
    check<dropless<3>>({.T = T, .E = 7, .group_size = T / 2, .kind = inputs::bad, .seed = 2}, n);
  CHECK(n.dropped == 0);
}

TEST_CASE("order keys sort like the scores they are made of") {
  const std::vector<float> scores = {-3.5f, -1e-40f, -0.0f, 0.0f, 1e-40f, 1e-30f, 0.5f, 0.50000006f, 1.0f, 3e38f};
  for (std::size_t i = 0; i < scores.size(); ++i)
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const float x = scores[i], y = scores[j];
      CHECK((polymoe::descending_key(x) < polymoe::descending_key(y)) == (x > y));
      CHECK((polymoe::descending_key(double{x}) < polymoe::descending_key(double{y})) == (x > y));
      // The group comes first; what has no score comes last in its group.
      CHECK(polymoe::order_key(x, true, 3) < polymoe::order_key(y, true, 4));
      CHECK(polymoe::order_key(x, true, 3) < polymoe::order_key(y, false, 3));
      CHECK(polymoe::order_key(y, false, 3) < polymoe::order_key(x, true, 4));
    }
  CHECK(polymoe::order_key(1.0, true, 0) < polymoe::order_key(9.0, false, 0));
  CHECK(polymoe::group_bits(0) == 0);
  CHECK(polymoe::group_bits(1) == 0);
  CHECK(polymoe::group_bits(2) == 1);
  CHECK(polymoe::group_bits(5) == 3);
}

TEST_CASE("the sort is stable and looks at the bits it is told") {
  const auto sort = polymoe::device::radix_sort();
  const std::vector<std::uint64_t> keys = {5, 1, 0x105, 3, 1, 5};
  const std::vector<int> ids = {10, 11, 12, 13, 14, 15};
  std::vector<std::uint64_t> sorted(6);
  std::vector<int> order(6);
  std::vector<unsigned char> scratch(sort.bytes(6, 8));
  sort.run(nullptr, scratch.data(), scratch.size(), keys.data(), sorted.data(), ids.data(), order.data(), 6, 8);
  CHECK(order == std::vector<int>{11, 14, 13, 10, 12, 15});
  CHECK(sorted == std::vector<std::uint64_t>{1, 1, 3, 5, 0x105, 5});
  CHECK_THROWS_AS(sort.run(nullptr, scratch.data(), 1, keys.data(), sorted.data(), ids.data(), order.data(), 6, 8),
                  polymoe::error);
}

TEST_CASE("launches: one where the device allows it, one per step elsewhere") {
  using polymoe::capacity::bounded;
  using by_position = bounded<overflow::drop>;
  using rerouted = bounded<overflow::reroute<2>>;
  using fallback = bounded<overflow::fallback>;
  using by_gate = bounded<overflow::drop, priority::gate>;
  using router = polymoe::top_k<2>;
  static_assert(polymoe::route_launches<router, by_position>(true) == 1 &&
                polymoe::route_launches<router, by_position>(false) == 4);
  static_assert(polymoe::route_launches<router, rerouted>(true) == 1 &&
                polymoe::route_launches<router, rerouted>(false) == 8);
  static_assert(polymoe::route_launches<router, fallback>(false) == 6);
  static_assert(polymoe::route_launches<router, by_gate>(true) == 2 &&
                polymoe::route_launches<router, by_gate>(false) == 6);
  static_assert(polymoe::route_launches<polymoe::mixture<>, by_position>(false) == 4);
  polymoe::route_args<float> a;
  a.plan.tokens = 4, a.plan.experts = a.plan.all_experts = 4, a.plan.groups = 1, a.plan.group_size = 4, a.plan.k = 2;
  CHECK_THROWS_AS(
      (polymoe::route_forward_cuda<router, by_gate, polymoe::balance::sum<>, polymoe::combine::affinity, 32>(
          nullptr, router{}, polymoe::balance::sum<>{}, polymoe::combine::affinity{}, a)),
      polymoe::error);
  a.plan.experts = 33;
  CHECK_THROWS_AS(
      (polymoe::route_forward_cuda<router, by_position, polymoe::balance::sum<>, polymoe::combine::affinity, 32>(
          nullptr, router{}, polymoe::balance::sum<>{}, polymoe::combine::affinity{}, a)),
      polymoe::error);
}
