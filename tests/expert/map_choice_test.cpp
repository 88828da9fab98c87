// Layers that choose convolution experts for whole feature maps: gradients and threads with drops, outputs and expert
// gradients against the same block made of nn modules, experts without maps, messages, cost.
// with: maps
#include <polymoe/nn/activation.hpp>
#include <polymoe/nn/conv2d.hpp>
#include <polymoe/nn/group_norm.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/residual.hpp>
#include <polymoe/nn/sequential.hpp>

#include "map_cases.hpp"

namespace polymoe {
namespace {

using namespace map_cases;

TEST_CASE("chosen map experts with drops: gradients and threads") {
  check_all<conv_top, false>(4, 23);
  check_all<depthwise_top, false>(3, 18);
}

/// One expert as a block of nn modules.
using conv_reference =
    nn::residual<nn::sequential<nn::named<"conv1", nn::conv2d<double>>, nn::named<"norm", nn::group_norm<double>>,
                                nn::activation<act::silu, double>, nn::named<"conv2", nn::conv2d<double>>>>;
using depthwise_reference =
    nn::sequential<nn::named<"dwconv", nn::conv2d<double>>, nn::named<"norm", nn::group_norm<double>>,
                   nn::named<"pwconv1", nn::linear<double>>, nn::activation<act::gelu_tanh, double>,
                   nn::named<"pwconv2", nn::linear<double>>>;

/// y and dx of the layer, and its expert gradients, against the reference run per map and choice with the layer's
/// gates.
template <class Layer, class Reference>
void against_modules(const typename Reference::config& block, index experts, index maps) {
  workspace<Layer> w(Layer(sizes<Layer>(experts)), {.max_rows = maps * pixels, .threads = 2, .seed = 9});
  workspace<Reference> one(Reference(block), {.max_rows = pixels});
  testing::detail::tensor<double> x(maps * pixels, D), y(maps * pixels, D), dy(maps * pixels, D), dx(maps * pixels, D);
  testing::detail::fill<double>(x, 3, 1, 1), testing::detail::fill<double>(dy, 3, 2, 1);
  testing::detail::fill<double>(w.values(), 3, 4, 0.5), w.refresh();
  w.forward(x, y), w.backward(dy, dx);
  const auto& plan = w.saved().routing.plan;
  std::vector<double> want_y(static_cast<std::size_t>(maps * pixels * D)), grads(w.values_on_host().size());
  std::vector<int> used(static_cast<std::size_t>(experts));
  double dropped = 0;
  std::vector<double> f(pixels * D), up(pixels * D);
  for (index t = 0; t < maps; ++t)
    for (index k = 0; k < plan.k; ++k) {
      const int e = plan.expert_of[t * plan.k + k], slot = plan.slot_of[t * plan.k + k];
      if (slot < 0) {
        ++dropped;
        continue;
      }
      ++used[static_cast<std::size_t>(e)];
      const double gate = plan.gate.get(0, slot);
      const std::string prefix = "experts." + std::to_string(e) + ".";
      const auto named = [&](const std::string& name) -> const param_entry& {
        for (const param_entry& p : w.entries())
          if (p.name == prefix + name) return p;
        FAIL("no parameter ", prefix, name);
        return w.entries()[0];
      };
      for (const param_entry& p : one.entries()) {
        CHECK(named(p.name).dims == p.dims);
        std::copy_n(w.values().ptr[0] + named(p.name).offset, p.size, one.values().ptr[0] + p.offset);
      }
      one.refresh(), one.zero_grads();
      one.forward(x.get().rows_at(t * pixels, pixels), {f.data(), pixels, D});
      for (std::size_t i = 0; i < f.size(); ++i) {
        const std::size_t at = static_cast<std::size_t>(t * pixels * D) + i;
        want_y[at] += gate * f[i];
        up[i] = gate * dy.get().ptr[0][at];
      }
      one.backward({up.data(), pixels, D}, {f.data(), pixels, D});
      for (const param_entry& p : one.entries())
        for (index i = 0; i < p.size; ++i)
          grads[static_cast<std::size_t>(named(p.name).offset + i)] += one.grads().get(0, p.offset + i);
    }
  CHECK(dropped > 0);
  for (index i = 0; i < maps * pixels * D; ++i)
    CHECK(y.get().ptr[0][i] == doctest::Approx(want_y[static_cast<std::size_t>(i)]).epsilon(1e-11));
  int checked = 0;
  for (const param_entry& p : w.entries())
    if (p.name.rfind("experts.", 0) == 0)
      for (index i = 0; i < p.size; ++i, ++checked)
        CHECK(w.grads().get(0, p.offset + i) ==
              doctest::Approx(grads[static_cast<std::size_t>(p.offset + i)]).epsilon(1e-9));
  CHECK(checked > 100 * experts);
}

TEST_CASE("map experts compute what the same modules compute") {
  const nn::conv2d<double>::config up{D, hidden, H, W, 3, 1, 1, false}, down{hidden, D, H, W, 3, 1, 1};
  against_modules<conv_top<double>, conv_reference>({{up, {hidden, 2, pixels}, {hidden}, down}}, 4, 11);
  const nn::conv2d<double>::config spatial{D, D, H, W, 5, 1, 2, true, true};
  against_modules<depthwise_top<double>, depthwise_reference>(
      {{spatial, {D, 1, pixels}, {D, hidden}, {hidden}, {hidden, D}}}, 3, 10);
}

TEST_CASE("experts without maps get zero gradients; 0 maps work") {
  using moe = conv_top<double>;
  workspace<moe> w(moe(sizes<moe>(8)), {.max_rows = 4 * pixels, .seed = 2});
  testing::detail::tensor<double> x(pixels, D), y(pixels, D), dy(pixels, D), dx(pixels, D);
  testing::detail::fill<double>(x, 1, 1, 1), testing::detail::fill<double>(dy, 1, 2, 1);
  w.forward(x, y), w.backward(dy, dx);
  const auto& plan = w.saved().routing.plan;
  int empty = 0;
  for (const param_entry& p : w.entries()) {
    if (p.name.rfind("experts.", 0) != 0) continue;
    const int e = std::stoi(p.name.substr(8));
    if (plan.count[e] > 0) continue;
    ++empty;
    for (index i = 0; i < p.size; ++i) REQUIRE(w.grads().get(0, p.offset + i) == 0);
  }
  CHECK(empty >= 6 * 5);
  w.zero_grads();
  w.forward(x.get().rows_at(0, 0), y.get().rows_at(0, 0));
  w.backward(dy.get().rows_at(0, 0), dx.get().rows_at(0, 0));
  for (const double g : w.grads_on_host()) REQUIRE(g == 0);
}

TEST_CASE("map experts refuse maps that do not fit, with both numbers; their cost is known") {
  auto c = sizes<conv_mix<float>>(2);
  c.map_height = 5;
  CHECK_THROWS_WITH_AS(conv_mix<float>{c}, doctest::Contains("12 rows of a unit are no map of height 5"), error);
  c.map_height = 0;
  CHECK_THROWS_WITH_AS(conv_mix<float>{c}, doctest::Contains("set map_height"), error);
  c.unit_rows = 9;
  CHECK_NOTHROW(conv_mix<float>{c});
  c.hidden = 7;
  CHECK_THROWS_WITH_AS(conv_mix<float>{c}, doctest::Contains("7 channels do not fall into 2"), error);
  const cost n = conv_top<double>::count(sizes<conv_top<double>>(4), 2 * pixels);
  CHECK(n.routed_macs == 2 * 2 * pixels * 2 * 9 * D * hidden);
  visitor<double> v;
  conv_top<double> m(sizes<conv_top<double>>(4));
  m.visit(v);
  CHECK(n.params == v.param_count());
}

}  // namespace
}  // namespace polymoe
