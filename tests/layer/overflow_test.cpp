// Layers whose overflow goes elsewhere: rerouting with a selection bias, and a fallback expert; gradients reach the
// experts that really served.  Micro-batches of whole groups add up to one call.
// with: choice
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;

struct rerouted : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<2, score::sigmoid>;
  using capacity = polymoe::capacity::bounded<overflow::reroute<2>>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::sum<polymoe::balance::loss_free_bias, polymoe::balance::switch_loss>;
};
struct with_fallback : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<3>;
  using capacity = polymoe::capacity::bounded<overflow::fallback, polymoe::priority::probability>;
};
using rerouted_layer = layer<rerouted, cpu>;
using fallback_layer = layer<with_fallback, cpu>;

layer_case<rerouted_layer> rerouted_case(float factor) {
  rerouted_layer::config c;
  c.dim = 4, c.hidden = 3, c.experts = 6;
  c.capacity.factor = factor;
  c.balance.get<balance::switch_loss>().weight = 2;
  return {c, 31, 21};
}
std::vector<double> set_bias(layer_case<rerouted_layer>& c) {
  std::vector<double> bias;
  for (int e = 0; e < 6; ++e) {
    const auto b = static_cast<float>(0.2 * noise(5, static_cast<std::uint64_t>(e)));
    c.w.state()[static_cast<std::size_t>(e)] = b;
    bias.push_back(static_cast<double>(b));
  }
  return bias;
}
fallback_layer::config fallback_config(bool padded) {
  fallback_layer::config c;
  c.dim = 4, c.hidden = 3, c.experts = 5, c.group_size = 10, c.padded = padded;
  c.capacity.factor = 0.6f;
  return c;
}

}  // namespace

TEST_CASE("sigmoid, bias, reroute, renormalised over chosen: forward against the reference") {
  for (const float factor : {0.7f, 1.0f}) {
    auto c = rerouted_case(factor);
    reference r;
    r.k = 2, r.sigmoid = true, r.overflow = ref_overflow::reroute, r.rounds = 2, r.combine = ref_combine::over_chosen;
    r.bias = set_bias(c);
    c.forward();
    CHECK(c.w.state_entries()[0].name == "router.bias");
    CHECK(reference_error(c, r) < 1e-11);
    CHECK(c.stats().moved > 0);
    if (factor < 1) CHECK(c.stats().drop_rate() > 0.1);
  }
}

TEST_CASE("sigmoid, bias, reroute, renormalised over chosen, switch loss: every gradient") {
  auto c = rerouted_case(0.8f);
  set_bias(c);
  const auto r = check_gradients(c);
  CHECK(c.stats().moved > 0);
  CHECK(c.stats().drop_rate() > 0.05);
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) > 1);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 50);
}

TEST_CASE("a fallback expert takes all overflow: forward and every gradient") {
  for (const bool padded : {false, true}) {
    layer_case<fallback_layer> c(fallback_config(padded), 27, 31);
    reference r;
    r.k = 3, r.overflow = ref_overflow::fallback, r.priority = ref_priority::probability;
    c.forward();
    CHECK(values_of(c.w).count("experts.5.fc1.weight") == 1);
    CHECK(c.stats().overflow > 10);
    CHECK(c.stats().drop_rate() == 0);
    CHECK(reference_error(c, r) < 1e-11);
    const auto g = check_gradients(c);
    CHECK(g.worst < 1e-6);
    CHECK(g.flipped < g.checked / 50);
  }
}

TEST_CASE("packed and padded plans give the same results") {
  layer_case<fallback_layer> a(fallback_config(false), 27, 31), b(fallback_config(true), 27, 31);
  a.forward(), b.forward();
  a.backward(), b.backward();
  CHECK(norm_ratio(a.y.plane[0], b.y.plane[0]) < 1e-14);
  CHECK(norm_ratio(a.dx.plane[0], b.dx.plane[0]) < 1e-14);
  const auto ga = grads_of(a.w), gb = grads_of(b.w);
  for (const auto& [name, g] : ga) CHECK_MESSAGE(norm_ratio(g, gb.at(name)) < 1e-13, name);
}

TEST_CASE("micro-batches of whole groups give the gradients of one call") {
  layer_case<fallback_layer> c(fallback_config(false), 30, 33);
  c.forward();
  c.backward();
  const auto whole = grads_of(c.w);
  c.w.zero_grads();
  for (const index first : {0, 10, 20}) {
    tensor<double> x(10, 4), dy(10, 4), y(10, 4), dx(10, 4);
    for (index t = 0; t < 10; ++t)
      for (index j = 0; j < 4; ++j) x.put(t, j, c.x.at(first + t, j)), dy.put(t, j, c.dy.at(first + t, j));
    c.w.step().micro = first / 10;
    c.w.forward(x.get(), y.get());
    c.w.backward(dy.get(), dx.get());
    for (index t = 0; t < 10; ++t)
      for (index j = 0; j < 4; ++j) {
        CHECK(y.at(t, j) == doctest::Approx(c.y.at(first + t, j)).epsilon(1e-13));
        CHECK(dx.at(t, j) == doctest::Approx(c.dx.at(first + t, j)).epsilon(1e-11));
      }
  }
  for (const auto& [name, g] : grads_of(c.w)) CHECK_MESSAGE(norm_ratio(g, whole.at(name)) < 1e-13, name);
}

TEST_CASE("many rows: gradients of one call equal those of many, past every cut of the reductions") {
  constexpr index rows = 40000, part = 500;
  auto config = fallback_config(false);
  config.capacity.factor = 1;
  layer_case<fallback_layer> c(config, rows, 35, 2);
  c.forward();
  c.backward();
  const auto whole = grads_of(c.w);
  c.w.zero_grads();
  for (index first = 0; first < rows; first += part) {
    const auto piece = [&](tensor<double>& t) { return t.get().rows_at(first, part); };
    c.w.forward(piece(c.x), piece(c.y));
    c.w.backward(piece(c.dy), piece(c.dx));
  }
  for (const auto& [name, g] : grads_of(c.w)) CHECK_MESSAGE(norm_ratio(g, whole.at(name)) < 1e-12, name);
}

TEST_CASE("with balance losses, micro-batches add up to (number of micro-batches) x the mean over groups") {
  // The loss of a call is the mean over its groups; three calls of one group each therefore weigh three times as much.
  rerouted_layer::config config;
  config.dim = 4, config.hidden = 3, config.experts = 6, config.group_size = 10;
  config.balance.get<balance::switch_loss>().weight = 2;
  layer_case<rerouted_layer> c(config, 30, 34);
  c.dy.fill(0);  // the balance loss alone
  c.forward();
  c.backward();
  auto whole = grads_of(c.w);
  const double loss = c.w.module().balance_loss(c.w.ctx(), c.w.saved());
  c.w.zero_grads();
  double sum = 0;
  for (const index first : {0, 10, 20}) {
    tensor<double> x(10, 4), dy(10, 4, 0.0), y(10, 4), dx(10, 4);
    for (index t = 0; t < 10; ++t)
      for (index j = 0; j < 4; ++j) x.put(t, j, c.x.at(first + t, j));
    c.w.forward(x.get(), y.get());
    c.w.backward(dy.get(), dx.get());
    sum += c.w.module().balance_loss(c.w.ctx(), c.w.saved());
  }
  CHECK(sum == doctest::Approx(3 * loss).epsilon(1e-12));
  for (double& g : whole.at("router.weight")) g *= 3;
  CHECK(norm_ratio(grads_of(c.w).at("router.weight"), whole.at("router.weight")) < 1e-13);
}

}  // namespace moe_test
