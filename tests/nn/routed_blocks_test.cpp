// nn::routed_blocks: one router for several transformer blocks: gradients, the same plan everywhere, names, cost.
// timeout: 300
// with: blocks
#include <doctest/doctest.h>

#include <polymoe/nn/mixed_blocks.hpp>
#include <polymoe/nn/routed_blocks.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/core/workspace.hpp>

namespace polymoe {
namespace {

/// Whole images, every expert weighted: no choice that a difference could flip.
template <class T>
struct images_mixed : spec {
  using scalar = T;
  using unit = polymoe::unit::image<polymoe::unit::mean>;
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
typename nn::routed_blocks<Spec>::config routed_config(index count) {
  typename nn::routed_blocks<Spec>::config c;
  c.attention.dim = 8, c.attention.heads = 2, c.attention.tokens = 3;
  c.moe.dim = 8, c.moe.hidden = 5, c.moe.experts = 3, c.count = count, c.first = 2;
  if constexpr (Spec::unit::block) c.moe.unit_rows = 3;
  return c;
}

/// Every gradient along random directions, in double.  (check_module runs backward twice, which experts do not allow.)
template <class Spec>
void check_gradients(index count, index rows) {
  using blocks = nn::routed_blocks<Spec>;
  workspace<blocks> w(blocks(routed_config<Spec>(count)), {.max_rows = rows, .seed = 5});
  const random_stream draw = random_root{7}.stream(1, 0);
  std::uint64_t n = 0;
  const auto next = [&] { return static_cast<double>(draw.normal(n++)); };
  std::vector<double> x(static_cast<std::size_t>(rows * 8)), dy(x.size()), y(x.size()), dx(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = next(), dy[i] = next();
  std::vector<double> values = w.values_on_host();
  for (double& v : values) v += 0.3 * next();
  w.set_values(values), w.refresh(), w.zero_grads();
  const auto objective = [&] {
    w.forward({x.data(), rows, 8}, {y.data(), rows, 8});
    double s = static_cast<double>(w.module().balance_loss(w.ctx(), w.saved()));
    for (std::size_t i = 0; i < y.size(); ++i) s += y[i] * dy[i];
    return s;
  };
  objective();
  w.backward({dy.data(), rows, 8}, {dx.data(), rows, 8});
  const std::vector<double> grads = w.grads_on_host();
  const double h = 1e-5;
  for (int direction = 0; direction < 6; ++direction) {
    // Directions of one tensor each, then of the input, so that a small gradient does not hide.
    const auto& e = w.entries()[static_cast<std::size_t>(direction) * (w.entries().size() - 1) / 5];
    std::vector<double> d(static_cast<std::size_t>(e.size));
    double want = 0;
    for (index i = 0; i < e.size; ++i)
      d[static_cast<std::size_t>(i)] = next(),
      want += d[static_cast<std::size_t>(i)] * grads[static_cast<std::size_t>(e.offset + i)];
    const auto at = [&](double step) {
      auto moved = values;
      for (index i = 0; i < e.size; ++i)
        moved[static_cast<std::size_t>(e.offset + i)] += step * d[static_cast<std::size_t>(i)];
      w.set_values(moved), w.refresh();
      return objective();
    };
    const double got = (at(h) - at(-h)) / (2 * h);
    INFO(e.name);
    CHECK(std::abs(got - want) < 1e-6 * std::max(1.0, std::abs(want)));
  }
  w.set_values(values), w.refresh();
  double want = 0;
  std::vector<double> d(x.size()), kept = x;
  for (std::size_t i = 0; i < x.size(); ++i) d[i] = next(), want += d[i] * dx[i];
  const auto at = [&](double step) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = kept[i] + step * d[i];
    return objective();
  };
  CHECK(std::abs((at(h) - at(-h)) / (2 * h) - want) < 1e-6 * std::max(1.0, std::abs(want)));
}

TEST_CASE("every gradient of blocks with one router") {
  for (const index count : {1, 2, 3}) {
    CAPTURE(count);
    check_gradients<images_mixed<double>>(count, 12);
  }
  check_gradients<tokens_chosen<double>>(2, 12);
}

TEST_CASE("the router and the experts of every block: names, cost, one plan") {
  using blocks = nn::routed_blocks<images_mixed<float>>;
  const auto c = routed_config<images_mixed<float>>(2);
  workspace<blocks> w(blocks(c), {.max_rows = 12});
  std::vector<std::string> names;
  for (const auto& e : w.entries()) names.push_back(e.name);
  const auto times = [&](const char* name) { return std::count(names.begin(), names.end(), name); };
  CHECK(times("router.weight") == 1);
  for (const char* name : {"2.norm1.weight", "2.attn.qkv.weight", "3.norm2.bias", "2.moe.experts.0.fc1.weight",
                           "3.moe.experts.2.fc2.bias"})
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
  workspace<blocks> w(blocks(routed_config<images_mixed<double>>(2)), {.max_rows = 6});
  std::vector<double> x(48), y(48), dy(48);
  for (std::size_t i = 0; i < 48; ++i)
    x[i] = std::sin(1.0 + static_cast<double>(i)), dy[i] = std::cos(2.0 * static_cast<double>(i));
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
  auto c = routed_config<images_mixed<float>>(0);
  CHECK_THROWS_WITH_AS(blocks{c}, doctest::Contains("count is 0"), error);
  c = routed_config<images_mixed<float>>(1);
  c.attention.dim = 4;
  CHECK_THROWS_WITH_AS(blocks{c}, doctest::Contains("attention has width 4, the experts 8"), error);
}

}  // namespace
}  // namespace polymoe
