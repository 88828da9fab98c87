// Whole layers of token choice with noise, drops and balance losses: forward against the reference and against the
// dense expansion of the plan, every gradient against central differences.
// sanitize: yes
// with: tokens
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;

struct learned_noise : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<2, score::noisy_learned<>>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load_shazeer>;
};
struct constant_noise : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<2, score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<overflow::identity, polymoe::priority::gate>;
  using expert = polymoe::expert::mlp<polymoe::act::gelu_erf>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
  using balance = polymoe::balance::sum<polymoe::balance::load, polymoe::balance::z_loss>;
};
using learned_layer = layer<learned_noise, cpu>;
using constant_layer = layer<constant_noise, cpu>;

learned_layer::config learned_config() {
  learned_layer::config c;
  c.dim = 5, c.hidden = 6, c.experts = 4;
  c.capacity.factor = 0.75f;
  c.balance.get<balance::importance>().weight = 20, c.balance.get<balance::load_shazeer>().weight = 15;
  return c;
}
constant_layer::config constant_config(bool padded) {
  constant_layer::config c;
  c.dim = 5, c.hidden = 3, c.experts = 5, c.group_size = 8, c.padded = padded;
  c.capacity.factor = 0.8f, c.router.scale = 2;
  c.balance.get<balance::load>().weight = 2, c.balance.get<balance::z_loss>().weight = 1.5;
  return c;
}
reference learned_reference() {
  reference r;
  r.k = 2, r.noise_kind = ref_noise::learned;
  return r;
}
reference constant_reference() {
  reference r;
  r.k = 2, r.noise_kind = ref_noise::constant, r.scale = 2, r.overflow = ref_overflow::identity;
  r.priority = ref_priority::gate, r.combine = ref_combine::over_kept, r.expert = reference::expert_kind::mlp_erf;
  return r;
}

}  // namespace

TEST_CASE("learned noise, top 2, drops: forward against the reference, at two temperatures and in evaluation") {
  layer_case<learned_layer> c(learned_config(), 23, 1);
  for (const float temperature : {1.0f, 2.5f}) {
    c.w.step().temperature = temperature;
    c.forward();
    CHECK(reference_error(c, learned_reference()) < 1e-11);
    CHECK(c.stats().drop_rate() > 0);
  }
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.forward();
  CHECK(reference_error(c, learned_reference()) < 1e-11);
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) == 0);
}

TEST_CASE("learned noise, top 2, drops, importance and Shazeer load: every gradient") {
  layer_case<learned_layer> c(learned_config(), 23, 1);
  for (const float temperature : {1.0f, 2.5f}) {
    c.w.step().temperature = temperature;
    const auto r = check_gradients(c);
    CHECK(c.stats().drop_rate() > 0.05);
    CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) > 0.1);
    CHECK(r.worst < 1e-6);
    CHECK(r.checked > 300);
    CHECK(r.flipped < r.checked / 50);
  }
}

TEST_CASE("evaluation has gradients too: no noise, no balance loss") {
  layer_case<learned_layer> c(learned_config(), 12, 2);
  c.w.ctx().mode = polymoe::run_mode::eval;
  CHECK(check_gradients(c).worst < 1e-6);
  const auto grads = grads_of(c.w);
  for (const double g : grads.at("router.noise_weight")) CHECK(g == 0);
}

TEST_CASE("groups of more rows than one tile of the router: importance by hand, and every gradient") {
  for (const index rows : {63, 64, 65, 127, 128, 129, 200}) {
    auto config = learned_config();
    config.group_size = 128;
    layer_case<learned_layer> c(config, rows, 4, 2);
    c.forward();
    const auto& m = c.w.saved().routing;
    double want = 0;
    const index groups = (rows + 127) / 128;
    for (index g = 0; g < groups; ++g) {
      std::vector<double> sum(4, 0.0);
      for (index t = 128 * g; t < std::min(rows, 128 * (g + 1)); ++t) {
        double all = 0;
        for (int e = 0; e < 4; ++e) all += std::exp(m.logits.get(t, e));
        for (int e = 0; e < 4; ++e) sum[static_cast<std::size_t>(e)] += std::exp(m.logits.get(t, e)) / all;
      }
      want += squared_cv(sum) / static_cast<double>(groups);
    }
    CHECK(m.values.get(0, 0) == doctest::Approx(want).epsilon(1e-9));
  }
  auto config = learned_config();
  config.group_size = 65;
  layer_case<learned_layer> c(config, 70, 4);
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 20);
}

TEST_CASE("rows of every size class of the router: 32, 128 and 1024 experts") {
  for (const index experts : {32, 33, 130}) {
    auto config = learned_config();
    config.dim = 2, config.hidden = 1, config.experts = experts, config.capacity.factor = 4;
    layer_case<learned_layer> c(config, 8, 7);
    c.forward();
    CHECK(reference_error(c, learned_reference()) < 1e-11);
    const auto r = check_gradients(c, "router.");
    CHECK(r.worst < 1e-6);
    CHECK(r.flipped < r.checked / 20);
  }
}

TEST_CASE("constant noise, BPR, renormalised over kept, the unit itself on overflow, groups: forward") {
  for (const bool padded : {false, true}) {
    layer_case<constant_layer> c(constant_config(padded), 21, 3);
    c.forward();
    CHECK(c.plan().groups == 3);
    CHECK(reference_error(c, constant_reference()) < 1e-11);
    CHECK(c.stats().overflow > 0);
    CHECK(c.stats().drop_rate() == 0);
  }
}

TEST_CASE("constant noise, BPR, renormalised over kept, the unit itself on overflow, groups: every gradient") {
  for (const bool padded : {false, true}) {
    layer_case<constant_layer> c(constant_config(padded), 21, 3);
    const auto r = check_gradients(c);
    CHECK(c.stats().overflow > 3);
    CHECK(r.worst < 1e-6);
    CHECK(r.flipped < r.checked / 50);
  }
}

TEST_CASE("balance losses are the mean over groups, of the units of each group") {
  layer_case<constant_layer> c(constant_config(false), 21, 3);
  c.forward();
  const auto& m = c.w.saved().routing;
  double z_loss = 0, load = 0;
  for (int g = 0; g < 3; ++g) {
    const int t0 = 8 * g, t1 = std::min(21, t0 + 8);
    std::vector<double> p(5, 0.0);
    for (int t = t0; t < t1; ++t) {
      double sum = 0;
      std::vector<double> noisy;
      for (int e = 0; e < 5; ++e) {
        sum += std::exp(m.logits.get(t, e));
        noisy.push_back(m.logits.get(t, e) +
                        0.4 * static_cast<double>(m.route.draw.normal(static_cast<std::uint64_t>(t * 5 + e))));
      }
      z_loss += std::log(sum) * std::log(sum) / (t1 - t0) / 3;
      const double tau = noisy[static_cast<std::size_t>(best_k(noisy, 2)[1])];
      for (int e = 0; e < 5; ++e)
        p[static_cast<std::size_t>(e)] += 0.5 * std::erfc((tau - m.logits.get(t, e)) / 0.4 / std::sqrt(2.0));
    }
    load += squared_cv(p) / 3;
  }
  CHECK(m.values.get(0, 0) == doctest::Approx(load).epsilon(1e-6));
  CHECK(m.values.get(0, 1) == doctest::Approx(z_loss).epsilon(1e-12));
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) == doctest::Approx(2 * load + 1.5 * z_loss).epsilon(1e-6));
  c.w.step().balance = 0.5f;
  c.forward();
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) == doctest::Approx(load + 0.75 * z_loss).epsilon(1e-6));
}

TEST_CASE("noise depends on seed and step only: a new workspace repeats it, another step or seed does not") {
  layer_case<learned_layer> a(learned_config(), 23, 1), b(learned_config(), 23, 1);
  a.forward();
  a.w.step().step = b.w.step().step = 5;
  a.forward(), b.forward();
  CHECK(a.y.same_bits(b.y));
  b.w.step().micro = 1;
  b.forward();
  CHECK_FALSE(a.y.same_bits(b.y));
  b.w.step().micro = 0;
  b.forward();
  CHECK(a.y.same_bits(b.y));
  b.w.ctx().random.seed = 2;
  b.forward();
  CHECK_FALSE(a.y.same_bits(b.y));
}

TEST_CASE("experts start different from each other, and the same whatever else is in the model") {
  polymoe::workspace<learned_layer> w(learned_layer(learned_config()), {.max_rows = 1, .seed = 9});
  auto more = learned_config();
  more.experts = 7;
  polymoe::workspace<learned_layer> v(learned_layer(more), {.max_rows = 1, .seed = 9});
  const auto a = values_of(w), b = values_of(v);
  for (int e = 0; e < 4; ++e) {
    const std::string name = "experts." + std::to_string(e) + ".fc1.weight";
    CHECK(a.at(name) == b.at(name));
    for (int f = 0; f < e; ++f) CHECK(a.at(name) != a.at("experts." + std::to_string(f) + ".fc1.weight"));
  }
}

TEST_CASE("gradients accumulate: a second backward adds the same again") {
  layer_case<learned_layer> c(learned_config(), 23, 1);
  c.forward();
  c.backward();
  const auto once = grads_of(c.w);
  const auto dx = c.dx;
  c.forward();
  c.w.backward(c.dy.get(), c.dx.get());
  CHECK(c.dx.same_bits(dx));
  for (const auto& [name, g] : grads_of(c.w)) {
    auto twice = once.at(name);
    for (double& x : twice) x *= 2;
    CHECK_MESSAGE(norm_ratio(g, twice) < 1e-14, name);
  }
  // Without an input gradient the parameters' gradients are the same.
  c.forward();
  c.w.zero_grads();
  c.w.backward(c.dy.get(), polymoe::view<double>{});
  CHECK(grads_of(c.w) == once);
}

TEST_CASE("idle experts have gradients of exactly zero, also when they had work the step before") {
  auto config = learned_config();
  config.balance.get<balance::importance>().weight = 0, config.balance.get<balance::load_shazeer>().weight = 0;
  config.capacity.factor = 100;
  layer_case<learned_layer> c(config, 12, 6);
  c.w.step().noise = 0;
  for (int step = 0; step < 4; ++step) {
    // All units alike: two experts have work, which ones depends on the step.
    for (index t = 0; t < 12; ++t)
      for (index j = 0; j < 5; ++j)
        c.x.put(t, j, noise(100 + static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(j)));
    c.forward();
    c.backward();
    CHECK(c.dx.all_finite());
    CHECK(c.y.all_finite());
    CHECK(c.stats().dead_experts() == 2);
    for (const auto& [name, g] : grads_of(c.w)) {
      double size = 0;
      for (const double v : g) {
        CHECK(std::isfinite(v));
        size += std::abs(v);
      }
      if (name.rfind("experts.", 0) == 0) CHECK((size == 0) == (c.stats().wished[name[8] - '0'] == 0));
    }
  }
}

TEST_CASE("nothing is read that this call did not write: poisoned memory changes no bit") {
  const auto check = [](auto c) {
    c->forward(), c->backward();
    const auto y = c->y, dx = c->dx;
    const auto grads = grads_of(c->w);
    const double loss = c->w.module().balance_loss(c->w.ctx(), c->w.saved());
    poison_saved(*c);
    c->forward(), c->backward();
    CHECK(c->y.same_bits(y));
    CHECK(c->dx.same_bits(dx));
    CHECK(grads_of(c->w) == grads);
    CHECK(c->w.module().balance_loss(c->w.ctx(), c->w.saved()) == loss);
  };
  check(std::make_unique<layer_case<learned_layer>>(learned_config(), 23, 1));
  check(std::make_unique<layer_case<constant_layer>>(constant_config(false), 21, 3));
  check(std::make_unique<layer_case<constant_layer>>(constant_config(true), 21, 3));
}

TEST_CASE("no units, one unit, and smaller calls after larger ones") {
  auto config = learned_config();
  layer_case<learned_layer> c(config, 23, 1);
  c.forward();
  c.backward();
  for (const index rows : {0, 1, 2, 17, 23}) {
    tensor<double> x(rows, 5), y(rows, 5), dy(rows, 5), dx(rows, 5);
    x.randomise(7), dy.randomise(8);
    c.w.zero_grads();
    c.w.forward(x.get(), y.get());
    CHECK(polymoe::plan_violation(c.plan()) == "");
    c.w.backward(dy.get(), dx.get());
    CHECK(y.all_finite());
    CHECK(dx.all_finite());
    for (const auto& [name, g] : grads_of(c.w))
      for (const double v : g) CHECK((rows == 0 ? v == 0 : std::isfinite(v)));
    if (rows == 0) CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) == 0);
  }
}

}  // namespace moe_test
