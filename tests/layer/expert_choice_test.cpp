// Expert choice: every expert takes its best units.  Against the definition, the dense expansion, mixtures (C = n), and
// central differences; units with no expert and with several; ties, bad rows, groups, layouts, threads, dual numbers.
// sanitize: yes
// with: columns
#include "support/column_layer.hpp"

namespace moe_test {
namespace {

namespace capacity = polymoe::capacity;
namespace combine = polymoe::combine;
namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;

template <class T>
struct picked : polymoe::spec {
  using scalar = T;
  using router = polymoe::expert_choice<>;
  using capacity = polymoe::capacity::bounded<>;
};
struct picked_noisy : polymoe::spec {
  using scalar = double;
  using router = polymoe::expert_choice<score::noisy_learned<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop, polymoe::priority::position,
                                              polymoe::capacity::rounding::nearest>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::z_loss>;
  using expert = polymoe::expert::gated_mlp<>;
};
template <class T>
struct picked_all : picked<T> {
  using capacity = polymoe::capacity::unlimited;
};
struct picked_images : picked<double> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
};
struct picked_head : picked<double> {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop_to_zero>;
};
struct mixed_all : polymoe::spec {
  using scalar = double;
  using router = polymoe::mixture<>;
};
using picked_layer = layer<picked<double>, cpu>;
using noisy_layer = layer<picked_noisy, cpu>;
using all_layer = layer<picked_all<double>, cpu>;
using mixed_layer = layer<mixed_all, cpu>;
using head_layer = layer<picked_head, cpu>;
using images_layer = layer<picked_images, cpu>;

static_assert(picked_layer::recipe.combine == polymoe::combine_path::gather_list);
static_assert(picked_layer::recipe.route == polymoe::route_path::rows_then_columns);

template <class Layer = picked_layer>
typename Layer::config config_of(int experts, double factor, index group = 0) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 4, c.experts = experts, c.group_size = group;
  if constexpr (Layer::spec::capacity::limited) c.capacity.factor = static_cast<float>(factor);
  return c;
}
/// Gate of every (unit, expert) by the definition; NaN where the expert did not take the unit.
template <class Layer>
matrix picked_gates(layer_case<Layer>& c, int C, bool renormalise) {
  const auto& p = c.plan();
  const matrix scores = softmax_rows(logits_of(c));
  matrix gate(scores.size(), std::vector<double>(static_cast<std::size_t>(p.experts), not_a_number));
  for (int t0 = 0; t0 < p.tokens; t0 += p.group_size)
    for (int e = 0; e < p.experts; ++e) {
      const int n = std::min(p.tokens, t0 + p.group_size) - t0;
      std::vector<double> column;
      for (int t = t0; t < t0 + n; ++t) column.push_back(scores[t][e]);
      for (const int i : best_k(column, std::min(C, n))) gate[t0 + i][e] = column[i];
    }
  for (auto& row : gate) {
    double sum = 0;
    for (const double x : row) sum += std::isnan(x) ? 0 : x;
    for (double& x : row) x = renormalise ? x / sum : x;
  }
  return gate;
}

}  // namespace

TEST_CASE("expert choice: plan, gates and output by the definition; every expert full") {
  for (const int E : {1, 2, 3, 8, 33, 40})
    for (const index group : {index{0}, index{7}, index{12}})
      for (const double factor : {0.5, 1.0, 2.0, 100.0})
        for (const bool padded : {false, true}) {
          auto config = config_of(E, factor, group);
          config.padded = padded;
          layer_case<picked_layer> c(config, 26, static_cast<std::uint64_t>(E), 2);
          c.forward();
          const auto& p = c.plan();
          CHECK(polymoe::plan_violation(p) == "");
          const index n = group ? group : 26;
          const int C = static_cast<int>(
              std::min<double>(static_cast<double>(n), std::ceil(factor * static_cast<double>(n) / E - 1e-9)));
          CHECK(p.capacity == C);
          const matrix gate = picked_gates(c, C, false);
          check_lists(c, gate);
          reference r;
          r.dim = 5, r.hidden = 4, r.experts = E, r.out = 5;
          CHECK(dense_expansion_error(c, r) < 1e-11);
          CHECK(gated_sum_error(c, r, gate) < 1e-11);
          for (int e = 0; e < E; ++e)
            for (int g = 0; g < p.groups; ++g)
              CHECK(p.count[e * p.groups + g] == std::min(C, std::min(26 - g * p.group_size, p.group_size)));
        }
}

TEST_CASE("statistics: units without an expert, experts per unit") {
  layer_case<picked_layer> c(config_of(4, 1.0, 9), 26, 3);
  c.forward();
  const auto& s = c.stats();
  const auto& p = c.plan();
  index none = 0, placed = 0;
  int most = 0, least = 99;
  for (int t = 0; t < 26; ++t)
    none += p.choices(t) == 0, placed += p.choices(t), most = std::max(most, p.choices(t)),
                                                       least = std::min(least, p.choices(t));
  CHECK((s.unpicked == none && none > 0));
  CHECK((s.placed == placed && s.choices == placed && s.overflow == 0 && s.moved == 0));
  CHECK((s.most_experts == most && s.least_experts == least && most > 1));
  CHECK(s.unpicked_rate() == doctest::Approx(static_cast<double>(none) / 26));
  CHECK(s.experts_per_unit() == doctest::Approx(static_cast<double>(placed) / 26));
  CHECK(s.drop_rate() == 0);
  CHECK(s.load_max_over_mean() == doctest::Approx(1));
  // A unit that no expert takes: output zero.
  for (int t = 0; t < 26; ++t)
    if (p.choices(t) == 0)
      for (index j = 0; j < 5; ++j) CHECK(c.y.at(t, j) == 0);
}

TEST_CASE("expert choice: every gradient") {
  for (const double factor : {0.6, 1.0, 2.0}) {
    layer_case<picked_layer> c(config_of(4, factor, 9), 23, 5);
    const auto r = check_gradients(c);
    CHECK(r.worst < 1e-6);
    CHECK(r.checked > 200);
    CHECK(r.flipped < r.checked / 20);
    CHECK(c.stats().unpicked + (factor > 1.5) > 0);
  }
}

TEST_CASE("expert choice with learned noise, renormalised gates, importance and z-loss: gates, every gradient") {
  auto config = config_of<noisy_layer>(5, 1.3, 10);
  config.balance.get<polymoe::balance::importance>().weight = 20,
  config.balance.get<polymoe::balance::z_loss>().weight = 3;
  layer_case<noisy_layer> c(config, 24, 6);
  c.w.step().temperature = 1.5f;
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 20);
  CHECK(polymoe::plan_violation(c.plan()) == "");
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) > 0.1);
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.w.step().temperature = 1;
  c.forward();
  const matrix gate = picked_gates(c, c.plan().capacity, true);
  check_lists(c, gate);
}

TEST_CASE("C = n is the mixture: outputs and gradients") {
  for (const index group : {index{0}, index{6}}) {
    layer_case<all_layer> a(config_of<all_layer>(4, 1, group), 17, 8);
    layer_case<mixed_layer> b(config_of<mixed_layer>(4, 1, group), 17, 8);
    a.forward(), b.forward();
    a.backward(), b.backward();
    CHECK(a.stats().unpicked == 0);
    CHECK((a.stats().least_experts == 4 && a.stats().most_experts == 4));
    CHECK(norm_ratio(a.y.plane[0], b.y.plane[0]) < 1e-13);
    CHECK(norm_ratio(a.dx.plane[0], b.dx.plane[0]) < 1e-12);
    const auto ga = grads_of(a.w), gb = grads_of(b.w);
    for (const auto& [name, g] : ga) CHECK_MESSAGE(norm_ratio(g, gb.at(name)) < 1e-12, name);
  }
}

TEST_CASE("ties go to the unit with the lower index") {
  layer_case<picked_layer> c(config_of(4, 1.0), 12, 9);
  set_parameter(c.w, "router.weight", std::vector<double>(20, 0.0));
  c.forward();
  for (int e = 0; e < 4; ++e)
    for (int i = 0; i < 3; ++i) CHECK(c.plan().token[c.plan().run_begin[e] + i] == i);
  CHECK(c.stats().unpicked == 9);
}

TEST_CASE("units as images, head experts that say drop_to_zero") {
  auto config = config_of<images_layer>(3, 1.2);
  config.unit_rows = 3;
  layer_case<images_layer> c(config, 24, 10);
  c.forward();
  reference r;
  r.dim = 5, r.hidden = 4, r.experts = 3, r.out = 5, r.unit_rows = 3;
  CHECK(dense_expansion_error(c, r) < 1e-11);
  CHECK(check_gradients(c).worst < 1e-6);
  auto head = config_of<head_layer>(3, 1.2);
  head.classes = 4;
  layer_case<head_layer> h(head, 11, 10);
  CHECK(check_gradients(h).worst < 1e-6);
}

TEST_CASE_TEMPLATE("same bits for any number of threads and whatever the memory held before", Layer, picked_layer,
                   layer<picked<float>, cpu>, layer<picked<polymoe::bf16>, cpu>) {
  same_bits_everywhere<Layer>(config_of<Layer>(6, 1.5, 50), 330);
}

TEST_CASE_TEMPLATE("bad rows are picked by nobody and change no gradient", Layer, picked_layer,
                   layer<picked<float>, cpu>) {
  auto config = config_of<Layer>(3, 1.0, 8);
  layer_case<Layer> c(config, 16, 11);
  for (index j = 0; j < 5; ++j) c.x.put(3, j, j == 1 ? not_a_number : 1), c.dy.put(3, j, j == 2 ? not_a_number : 1);
  c.forward();
  c.backward();
  CHECK(c.stats().bad_rows == 1);
  CHECK(polymoe::plan_violation(c.plan()) == "");
  CHECK(c.plan().choices(3) == 0);
  for (index t = 0; t < 16; ++t)
    for (index j = 0; j < 5; ++j)
      CHECK((t == 3 ? std::isnan(c.y.at(t, j)) && c.dx.at(t, j) == 0 : std::isfinite(c.y.at(t, j))));
  for (const auto& [name, g] : grads_of(c.w))
    for (const double v : g) CHECK(std::isfinite(v));
  // The same whichever number is not finite, and the same as without that unit: seven units
  // in its group, the same C = 3.
  for (const double other : {HUGE_VAL, -HUGE_VAL}) {
    layer_case<Layer> d(config, 16, 11);
    for (index j = 0; j < 5; ++j) d.x.put(3, j, j == 4 ? other : 0);
    d.forward();
    for (index t = 0; t < 16; ++t)
      if (t != 3) CHECK(d.y.row_same_bits(t, c.y, t));
  }
  auto seven = config;
  seven.group_size = 7;
  layer_case<Layer> without(seven, 7, 11);
  for (index t = 0, u = 0; t < 8; ++t) {
    if (t == 3) continue;
    for (index j = 0; j < 5; ++j) without.x.put(u, j, c.x.at(t, j));
    ++u;
  }
  without.forward();
  REQUIRE(without.plan().capacity == c.plan().capacity);
  for (index t = 0, u = 0; t < 8; ++t) {
    if (t == 3) continue;
    CHECK(c.y.row_same_bits(t, without.y, u));
    ++u;
  }
  for (index t = 0; t < 16; ++t) c.x.put(t, 0, not_a_number);
  c.forward();
  c.backward();
  CHECK((c.stats().bad_rows == 16 && c.stats().placed == 0));
  for (const auto& [name, g] : grads_of(c.w))
    for (const double v : g) CHECK(v == 0);
}

TEST_CASE("no units, and fewer units than memory was bound for") {
  layer_case<picked_layer> c(config_of(4, 1.0, 8), 20, 12);
  c.w.forward(c.x.get().rows_at(0, 0), c.y.get().rows_at(0, 0));
  c.w.backward(c.dy.get().rows_at(0, 0), c.dx.get().rows_at(0, 0));
  CHECK(c.stats().placed == 0);
  for (const index n : {1, 7, 8, 9, 20}) {
    c.w.forward(c.x.get().rows_at(0, n), c.y.get().rows_at(0, n));
    CHECK(polymoe::plan_violation(c.plan()) == "");
  }
}

TEST_CASE("evaluation has a capacity of its own; a larger one than bound is refused") {
  auto config = config_of(4, 1.0);
  config.capacity.eval_factor = 2.0f;
  layer_case<picked_layer> c(config, 16, 13);
  c.forward();
  CHECK(c.plan().capacity == 4);
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.forward();
  CHECK(c.plan().capacity == 8);
  c.w.module().router().settings().capacity.eval_factor = 3.0f;
  CHECK(refuses([&] { c.forward(); }, {"capacity 12", "48 slots", "bound for 32"}));
}

TEST_CASE("dual numbers carry the derivative of outputs and gradients") {
  tangents_follow<layer<picked<polymoe::dual<double>>, cpu>, picked_layer>(
      config_of<layer<picked<polymoe::dual<double>>, cpu>>(3, 1.0, 8), config_of(3, 1.0, 8), 15);
}

TEST_CASE("counting and describing") {
  const auto config = config_of(4, 1.0, 8);
  // 20 units: groups of 8, 8 and 4; C = 2, 2 and 1: 20 slots.
  const auto one = picked_layer::count(config, 20), none = picked_layer::count(config, 0);
  const index expert_macs = 2 * 5 * 4, router_macs = 20 * 5 * 4;
  CHECK(one.macs == router_macs + 20 * expert_macs);
  CHECK(none.macs == 0);
  CHECK(picked_layer(config).describe().find("picked by experts") != std::string::npos);
  CHECK(picked_layer(config).describe().find("C=2 of 8") != std::string::npos);
}

}  // namespace moe_test
