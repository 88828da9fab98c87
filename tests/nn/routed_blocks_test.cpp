// nn::routed_blocks: one router for several transformer blocks: gradients, the same plan everywhere, names, cost.
// timeout: 300
#include <doctest/doctest.h>

#include <polymoe/nn/mixed_blocks.hpp>
#include <polymoe/nn/routed_blocks.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

/// Whole images, every expert weighted: no choice that a difference could flip.
template <class T>
struct images_mixed : spec {
  using scalar = T;
  using unit = unit::image<unit::mean>;
  using router = mixture<>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::z_loss>;
};
template <class T>
struct tokens_chosen : spec {
  using scalar = T;
  using router = top_k<1>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
};
template <class Spec>
typename nn::routed_blocks<Spec>::config config_of(index count) {
  typename nn::routed_blocks<Spec>::config c;
  c.attention.dim = 8, c.attention.heads = 2, c.attention.tokens = 3;
  c.moe.dim = 8, c.moe.hidden = 5, c.moe.experts = 3, c.count = count, c.first = 2;
  if constexpr (Spec::unit::block) c.moe.unit_rows = 3;
  return c;
}

template <class T>
using image_blocks = nn::routed_blocks<images_mixed<T>>;
template <class T>
using token_blocks = nn::routed_blocks<tokens_chosen<T>>;

TEST_CASE("blocks with one router keep the module contract") {
  for (const index count : {1, 2, 3})
    testing::check_module<image_blocks>([=](auto t) { return config_of<images_mixed<decltype(t)>>(count); },
                                        {.rows = 12, .mode = run_mode::eval});
  testing::check_module<token_blocks>([](auto t) { return config_of<tokens_chosen<decltype(t)>>(2); },
                                      {.rows = 12, .seed = 4, .bf16_error = 2.0, .mode = run_mode::eval});
}

TEST_CASE("the router and the experts of every block: names, cost, one plan") {
  using blocks = nn::routed_blocks<images_mixed<float>>;
  const auto c = config_of<images_mixed<float>>(2);
  workspace<blocks> w(blocks(c), {.max_rows = 12});
  std::vector<std::string> names;
  for (const auto& e : w.entries()) names.push_back(e.name);
  const auto times = [&](const char* name) { return std::count(names.begin(), names.end(), name); };
  CHECK(times("router.weight") == 1);
  for (const char* name : {"2.norm1.weight", "2.attn.qkv.weight", "3.norm2.bias", "2.moe.experts.0.fc1.weight", "3.moe.experts.2.fc2.bias"})
    CHECK_MESSAGE(times(name) == 1, name);
  const cost n = blocks::count(c, 12);
  index params = 0;
  for (const auto& e : w.entries()) params += e.size;
  CHECK(n.params == params);
  CHECK(n.routed_macs == 2 * 12 * 3 * 2 * 8 * 5);  // blocks, rows, experts, maps
  std::vector<float> x(96, 0.5f), y(96);
  w.forward({x.data(), 12, 8}, {y.data(), 12, 8});
  CHECK(w.module().stats(w.ctx(), w.saved()).units == 4);
  CHECK(w.saved().routing.plan.tokens == 4);
}

TEST_CASE("the gradient of the router is the sum over the blocks") {
  // The same parameters in both blocks' experts; with the second block's experts at zero only the first teaches.
  using blocks = nn::routed_blocks<images_mixed<double>>;
  workspace<blocks> w(blocks(config_of<images_mixed<double>>(2)), {.max_rows = 6});
  std::vector<double> x(48), y(48), dy(48);
  for (std::size_t i = 0; i < 48; ++i) x[i] = std::sin(1.0 + static_cast<double>(i)), dy[i] = std::cos(2.0 * static_cast<double>(i));
  const auto router_gradient = [&](std::vector<std::string> zeroed) {
    auto values = w.values_on_host();
    const auto kept = values;
    for (const auto& e : w.entries())
      for (const auto& name : zeroed)
        if (e.name.rfind(name, 0) == 0) std::fill_n(values.begin() + e.offset, e.size, 0.0);
    w.set_values(values), w.refresh(), w.zero_grads();
    w.ctx().mode = run_mode::eval;
    w.forward({x.data(), 6, 8}, {y.data(), 6, 8});
    w.backward({dy.data(), 6, 8}, {});
    double length = 0;
    for (const auto& e : w.entries())
      if (e.name == "router.weight")
        for (index i = 0; i < e.size; ++i) length += std::abs(w.grads().ptr[0][e.offset + i]);
    w.set_values(kept), w.refresh();
    return length;
  };
  CHECK(router_gradient({"2.moe", "3.moe"}) == 0);
  CHECK(router_gradient({"3.moe"}) > 1e-6);
  CHECK(router_gradient({"2.moe"}) > 1e-6);
}

TEST_CASE("refused sizes") {
  using blocks = nn::routed_blocks<images_mixed<float>>;
  auto c = config_of<images_mixed<float>>(0);
  CHECK_THROWS_WITH_AS(blocks{c}, doctest::Contains("count is 0"), error);
  c = config_of<images_mixed<float>>(1);
  c.attention.dim = 4;
  CHECK_THROWS_WITH_AS(blocks{c}, doctest::Contains("attention has width 4, the experts 8"), error);
}

}  // namespace
}  // namespace polymoe
