// Whole layers on CUDA under the host executor against the CPU backend: overflow policies, priorities, the loss-free
// bias, a custom router.  Mixtures, experts and units are in layer_experts_test.cpp.
// timeout: 900
// with: layer_policies
#include "layer_harness.hpp"

// The example's own text; of its program only the router is used.
#define main run_custom_router_of_layers
#include <custom_router.cpp>
#undef main

namespace {
using namespace layer_test;
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;
namespace score = polymoe::score;

template <class T, class Overflow, class Priority = priority::position>
struct bounded_spec : small_spec<T> {
  using capacity = polymoe::capacity::bounded<Overflow, Priority>;
};
}  // namespace

TEST_CASE("overflow on CUDA: fallback expert, identity, rerouting") {
  both<bounded_spec<float, overflow::fallback>> a({.factor = 0.6f, .seed = 1});
  CHECK(a.overflow > 0);
  both<bounded_spec<float, overflow::fallback>>({.padded = true, .factor = 0.6f, .seed = 2});
  both<bounded_spec<double, overflow::identity>> b({.factor = 0.6f, .seed = 3});
  CHECK(b.overflow > 0);
  both<bounded_spec<float, overflow::reroute<2>>> c({.factor = 1.1f, .seed = 4});
  CHECK(c.moved > 0);
}
TEST_CASE("priority on CUDA: by gate and by probability, through the sort") {
  both<bounded_spec<float, overflow::drop, priority::gate>> a(
      {.units = 90, .group_size = 32, .factor = 0.7f, .seed = 5});
  CHECK(a.dropped > 0);
  both<bounded_spec<double, overflow::drop, priority::probability>> b({.units = 50, .factor = 0.7f, .seed = 6});
  CHECK(b.dropped > 0);
}

namespace {
/// As DeepSeek-V3 routes, places at random.
struct loss_free : bounded_spec<float, overflow::drop, priority::random> {
  using router = polymoe::group_limited<2, 3, 2, score::sigmoid>;
  using balance = polymoe::balance::loss_free_bias;
};
struct with_custom_router : bounded_spec<float, overflow::drop> {
  using router = priced_sigmoid;
};
}  // namespace
TEST_CASE("the loss-free bias on CUDA moves by the same steps; few groups of experts, places at random") {
  both<loss_free> a({.units = 80, .shift_load = true, .factor = 0.9f, .seed = 19});
  CHECK(a.dropped > 0);
  both<loss_free>(
      {.units = 70, .experts = 30, .group_size = 33, .with_bad = true, .shift_load = true, .factor = 0.8f, .seed = 21});
  both<loss_free>({.units = 60, .factor = 0.7f, .mode = run_mode::eval, .seed = 22});
}
TEST_CASE("a custom router on CUDA: the example's own text") {
  both<with_custom_router>({.units = 60, .factor = 0.8f, .seed = 20});
}
TEST_CASE("a custom router on CUDA learns the example's task as on the CPU") {
  const auto losses = []<class B>(B) {
    using Layer = polymoe::layer<with_custom_router, B>;
    typename Layer::config c;
    c.dim = toy::dim, c.hidden = 16, c.experts = 4, c.router.price = 0.1f, c.capacity.factor = 1.2f;
    polymoe::workspace<Layer> moe(Layer(c), {.max_rows = toy::points, .seed = 1});
    return toy::train(moe, 8, 0.05f);
  };
  const std::vector<double> host = losses(cpu{}), device = losses(cuda{});
  for (std::size_t i = 0; i < host.size(); ++i) CHECK(device[i] == doctest::Approx(host[i]).epsilon(1e-4));
  CHECK(device.back() < 0.9 * device.front());
}

#if !defined(__CUDACC__)
TEST_CASE("describe() counts the router's launches: by position, by sorted priorities, with rerouting") {
  compare_launches<bounded_spec<float, overflow::fallback>>();
  compare_launches<bounded_spec<float, overflow::drop, priority::gate>>(" + 1 sort", 32);
  compare_launches<bounded_spec<double, overflow::drop, priority::probability>>(" + 1 sort");
  compare_launches<bounded_spec<double, overflow::drop, priority::probability>>(" + 2 sorts", 32);
  compare_launches<bounded_spec<float, overflow::reroute<2>>>();
}
TEST_CASE("a launch that is refused names kernel, grid and the layer's recipe") {
  using Layer = polymoe::layer<bounded_spec<float, overflow::fallback>, cuda>;
  polymoe::workspace<Layer> w(Layer({.dim = 16, .hidden = 8, .experts = 6, .group_size = 16}), {.max_rows = 80});
  const tensor<float> x(80, 16, 1);
  tensor<float> y(80, 16);
  const auto refused = [&](const polymoe::executor::settings& limits, auto call, const std::string& why) {
    const polymoe::executor::scope with(limits);
    std::string text;
    try {
      call();
    } catch (const polymoe::error& e) {
      text = e.what();
    }
    INFO(text);
    CHECK(text.find(why) != text.npos);
    CHECK(text.find("; in layer: D=16 H=8 E=6 K=2, unit ") != text.npos);
    CHECK(text.find("overflow fallback") != text.npos);
  };
  polymoe::executor::settings limits;
  limits.multiprocessors = limits.blocks_per_multiprocessor = 1;
  refused(limits, [&] { w.forward(x, y); }, "route_forward: a cooperative grid of 5 blocks, the device holds 1");
  w.forward(x, y);
  limits.shared_limit = 0;
  refused(limits, [&] { w.backward(y, {}); }, ": launch of grid ");
  CHECK_THROWS_WITH_AS(w.forward(tensor<float>(80, 12), y), "layer: x is [80, 12], the layer was built for dim 16",
                       polymoe::error);
}
#endif
