// Mixtures: every expert for every unit.  Against the reference, against top_k<E>, and as the head of paper B; bad
// rows.
// sanitize: yes
// with: mixtures
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
using polymoe::cpu;
using polymoe::layer;

template <class T>
struct mixed : polymoe::spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::gated_mlp<>;
  using balance = polymoe::balance::sum<polymoe::balance::kl_from_uniform, polymoe::balance::kl_to_uniform>;
};
struct all_four : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<4>;
  using expert = polymoe::expert::gated_mlp<>;
};
struct soft_head : polymoe::spec {
  using scalar = double;
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  using balance = polymoe::balance::kl_from_uniform;
};
using mixed_layer = layer<mixed<double>, cpu>;
using bf16_layer = layer<mixed<polymoe::bf16>, cpu>;
using four_layer = layer<all_four, cpu>;
using head_layer = layer<soft_head, cpu>;

static_assert(mixed_layer::recipe.dispatch == polymoe::dispatch_path::no_copy);
static_assert(four_layer::recipe.dispatch == polymoe::dispatch_path::gather_packed);

template <class Layer = mixed_layer>
typename Layer::config mixed_config(int experts) {
  typename Layer::config c;
  c.dim = 4, c.hidden = 3, c.experts = experts;
  c.balance.template get<balance::kl_from_uniform>().weight = 30;
  c.balance.template get<balance::kl_to_uniform>().weight = 20;
  return c;
}
reference mixed_reference() {
  reference r;
  r.k = 0, r.expert = reference::expert_kind::gated;
  return r;
}

}  // namespace

TEST_CASE("a mixture of gated experts: forward against the reference, few and many experts") {
  for (const int E : {1, 3, 5, 32, 33, 70}) {
    layer_case<mixed_layer> c(mixed_config(E), 11, 41, 2);
    c.w.step().temperature = 0.75f;
    c.forward();
    CHECK(reference_error(c, mixed_reference()) < 1e-11);
    CHECK(c.stats().drop_rate() == 0);
    CHECK(c.stats().mixture);
  }
}

TEST_CASE("a mixture of gated experts with both KL losses: every gradient") {
  for (const int E : {1, 5, 37}) {
    layer_case<mixed_layer> c(mixed_config(E), 9, 42);
    c.w.step().temperature = 0.75f;
    const auto r = check_gradients(c);
    CHECK(r.worst < 1e-6);
    CHECK(r.flipped == 0);
    if (E > 1) CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) > 0.1);
  }
}

TEST_CASE("a mixture equals top_k with K = E and unlimited capacity: outputs and all gradients") {
  auto config = mixed_config(4);
  config.balance = {};
  config.balance.get<balance::kl_from_uniform>().weight = 0, config.balance.get<balance::kl_to_uniform>().weight = 0;
  layer_case<mixed_layer> a(config, 19, 43);
  four_layer::config other;
  other.dim = 4, other.hidden = 3, other.experts = 4;
  layer_case<four_layer> b(other, 19, 43);
  REQUIRE(values_of(a.w) == values_of(b.w));
  a.forward(), b.forward();
  a.backward(), b.backward();
  reference r = mixed_reference();
  r.k = 4;
  CHECK(reference_error(b, r) < 1e-11);
  CHECK(norm_ratio(a.y.plane[0], b.y.plane[0]) < 1e-13);
  CHECK(norm_ratio(a.dx.plane[0], b.dx.plane[0]) < 1e-13);
  const auto ga = grads_of(a.w), gb = grads_of(b.w);
  for (const auto& [name, g] : ga) CHECK_MESSAGE(norm_ratio(g, gb.at(name)) < 1e-12, name);
}

TEST_CASE("paper B's soft head: logits are the softmax-weighted sum of expert heads, by hand") {
  head_layer::config config;
  config.dim = 6, config.hidden = 4, config.experts = 3, config.classes = 5;
  layer_case<head_layer> c(config, 7, 44);
  c.forward();
  const auto p = values_of(c.w);
  for (index t = 0; t < 7; ++t) {
    double gate[3], sum = 0;
    for (int e = 0; e < 3; ++e) {
      double z = 0;
      for (int j = 0; j < 6; ++j) z += p.at("router.weight")[static_cast<std::size_t>(6 * e + j)] * c.x.at(t, j);
      sum += gate[e] = std::exp(z);
    }
    for (int o = 0; o < 5; ++o) {
      double want = 0;
      for (int e = 0; e < 3; ++e) {
        const std::string at = "experts." + std::to_string(e) + ".";
        double y = p.at(at + "fc2.bias")[static_cast<std::size_t>(o)];
        for (int h = 0; h < 4; ++h) {
          double a = p.at(at + "fc1.bias")[static_cast<std::size_t>(h)];
          for (int j = 0; j < 6; ++j) a += p.at(at + "fc1.weight")[static_cast<std::size_t>(6 * h + j)] * c.x.at(t, j);
          y += p.at(at + "fc2.weight")[static_cast<std::size_t>(4 * o + h)] * std::max(a, 0.0);
        }
        want += gate[e] / sum * y;
      }
      CHECK(c.y.at(t, o) == doctest::Approx(want).epsilon(1e-12));
    }
  }
  // Parameter count of paper B's head: 8 experts 512-64-10 and a gate without bias.
  head_layer::config paper;
  paper.dim = 512, paper.hidden = 64, paper.experts = 8, paper.classes = 10;
  CHECK(head_layer::count(paper, 1).params == 8 * (512 * 64 + 64 + 64 * 10 + 10) + 8 * 512);
}

TEST_CASE_TEMPLATE("bad rows of a mixture reach no gradient and no other row", Layer, mixed_layer, bf16_layer) {
  layer_case<Layer> c(mixed_config<Layer>(5), 12, 45), clean(mixed_config<Layer>(5), 12, 45);
  for (index j = 0; j < 4; ++j) clean.x.put(3, j, 0), clean.dy.put(3, j, 0);
  for (const double bad : {not_a_number, HUGE_VAL, -HUGE_VAL}) {
    c.x.put(3, 2, bad);
    c.forward();
    c.backward();
    CHECK(c.stats().bad_rows == 1);
    CHECK(std::isfinite(c.w.module().balance_loss(c.w.ctx(), c.w.saved())));
    clean.forward();
    for (index t = 0; t < 12; ++t) {
      if (t == 3)
        for (index j = 0; j < 4; ++j) CHECK((std::isnan(c.y.at(t, j)) && c.dx.at(t, j) == 0));
      else CHECK(c.y.row_same_bits(t, clean.y, t));
    }
    for (const auto& [name, g] : grads_of(c.w))
      for (const double v : g) CHECK(std::isfinite(v));
  }
  // Gradients equal those of the eleven good rows alone.
  layer_case<Layer> good(mixed_config<Layer>(5), 11, 45);
  for (index t = 0; t < 12; ++t)
    for (index j = 0; j < 4; ++j)
      if (t != 3) good.x.put(t < 3 ? t : t - 1, j, c.x.at(t, j)), good.dy.put(t < 3 ? t : t - 1, j, c.dy.at(t, j));
  good.forward();
  good.backward();
  const bool exact = std::is_same_v<Layer, mixed_layer>;
  CHECK(static_cast<double>(c.w.module().balance_loss(c.w.ctx(), c.w.saved())) ==
        doctest::Approx(static_cast<double>(good.w.module().balance_loss(good.w.ctx(), good.w.saved())))
            .epsilon(exact ? 1e-13 : 1e-5));
  const auto ga = grads_of(c.w), gb = grads_of(good.w);
  for (const auto& [name, g] : ga) CHECK_MESSAGE(norm_ratio(g, gb.at(name)) < (exact ? 1e-12 : 1e-3), name);
}

TEST_CASE("a bf16 mixture of more experts than one batch of the combine loop follows the double one") {
  for (const int E : {5, 33, 70}) {
    layer_case<bf16_layer> low(mixed_config<bf16_layer>(E), 20, 46);
    layer_case<mixed_layer> high(mixed_config(E), 20, 46);
    for (index i = 0; i < low.w.values().cols; ++i)
      high.w.values().ptr[0][i] = static_cast<double>(low.w.values().ptr[0][i]);
    high.w.refresh();
    for (index t = 0; t < 20; ++t)
      for (index j = 0; j < 4; ++j) high.x.put(t, j, low.x.at(t, j)), high.dy.put(t, j, low.dy.at(t, j));
    low.forward(), high.forward();
    low.backward(), high.backward();
    std::vector<double> y;
    for (index t = 0; t < 20; ++t)
      for (index j = 0; j < 4; ++j) y.push_back(low.y.at(t, j));
    CHECK(norm_ratio(y, high.y.plane[0]) < 2e-2);
    const auto got = grads_of(low.w), want = grads_of(high.w);
    for (const auto& [name, g] : got) CHECK_MESSAGE(norm_ratio(g, want.at(name)) < 3e-2, name);
  }
}

}  // namespace moe_test
