// Soft MoE: dense plans.  Closed form, every gradient (through both softmaxes, both norms and the scale), one unit, one
// slot, images apart, the batch axis, unit blocks, bad rows, threads, bf16, dual numbers.
// sanitize: yes
// with: slots
#include <polymoe/analysis/slot_similarity.hpp>

#include "support/column_layer.hpp"

namespace moe_test {
namespace {

namespace axis = polymoe::axis;
using polymoe::cpu;
using polymoe::layer;

template <class T, class Axis = axis::image, bool Normalised = true>
struct soft : polymoe::spec {
  using scalar = T;
  using router = polymoe::soft_slots<Axis, Normalised>;
};
struct soft_images : soft<double, axis::batch> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
};
struct soft_head : soft<double> {
  using expert = polymoe::expert::head<polymoe::act::gelu_tanh>;
};
using soft_layer = layer<soft<double>, cpu>;
using plain_layer = layer<soft<double, axis::image, false>, cpu>;
using batch_layer = layer<soft<double, axis::batch>, cpu>;
using images_layer = layer<soft_images, cpu>;
using head_layer = layer<soft_head, cpu>;

static_assert(soft_layer::recipe.dispatch == polymoe::dispatch_path::matrix);
static_assert(soft_layer::recipe.combine == polymoe::combine_path::matrix);

template <class Layer = soft_layer>
typename Layer::config config_of(int experts, index slots, index tokens, double scale = 3) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 4, c.experts = experts, c.group_size = tokens;
  c.router.slots = slots, c.router.first_scale = static_cast<float>(scale);
  return c;
}
struct want {
  matrix dispatch, combine, y;
};
/// The definition, in plain loops.  x rows are payload rows; the router sees the mean of a unit's rows.
template <class Case>
want by_hand(Case& c, index group_size, int unit_rows = 1) {
  const auto& config = c.w.module().settings();
  const auto params = values_of(c.w);
  const auto& phi = params.at("router.phi");
  const bool normalised = params.count("router.scale") > 0;
  const index D = c.x.cols, S = static_cast<index>(phi.size()) / D, T = c.x.rows / unit_rows, p = config.router.slots;
  const double factor =
      (normalised ? params.at("router.scale")[0] : 1) * static_cast<double>(1.0f / c.w.step().temperature);
  const double spread = c.w.ctx().training() ? static_cast<double>(config.router.noise_std * c.w.step().noise) *
                                                   static_cast<double>(1.0f / c.w.step().temperature)
                                             : 0;
  const auto draw = c.w.ctx().draw(polymoe::stream_id("router.noise"));
  want o;
  matrix logit(static_cast<std::size_t>(T), std::vector<double>(static_cast<std::size_t>(S)));
  for (index t = 0; t < T; ++t)
    for (index s = 0; s < S; ++s) {
      double dot = 0, xx = 0, mm = 0;
      for (index j = 0; j < D; ++j) {
        double x = 0;
        for (int r = 0; r < unit_rows; ++r) x += c.x.at(t * unit_rows + r, j) / unit_rows;
        const double m = phi[static_cast<std::size_t>(s * D + j)];
        dot += x * m, xx += x * x, mm += m * m;
      }
      if (spread != 0) logit[t][s] = spread * static_cast<double>(draw.normal(static_cast<std::uint64_t>(t * S + s)));
      logit[t][s] += factor * (normalised ? dot / std::sqrt(xx + 1e-6f) / std::sqrt(mm + 1e-6f) : dot);
    }
  o.combine = softmax_rows(logit);
  o.dispatch = logit;
  for (index t0 = 0; t0 < T; t0 += group_size)
    for (index s = 0; s < S; ++s) {
      double top = -1e300, sum = 0;
      for (index t = t0; t < std::min(T, t0 + group_size); ++t) top = std::max(top, logit[t][s]);
      for (index t = t0; t < std::min(T, t0 + group_size); ++t) sum += std::exp(logit[t][s] - top);
      for (index t = t0; t < std::min(T, t0 + group_size); ++t) o.dispatch[t][s] = std::exp(logit[t][s] - top) / sum;
    }
  reference r;
  r.dim = static_cast<int>(D), r.hidden = static_cast<int>(config.hidden), r.out = static_cast<int>(c.y.cols);
  o.y.assign(static_cast<std::size_t>(c.y.rows), std::vector<double>(static_cast<std::size_t>(c.y.cols), 0.0));
  for (index t0 = 0; t0 < T; t0 += group_size)
    for (index s = 0; s < S; ++s)
      for (int row = 0; row < unit_rows; ++row) {
        std::vector<double> in(static_cast<std::size_t>(D), 0.0);
        for (index t = t0; t < std::min(T, t0 + group_size); ++t)
          for (index j = 0; j < D; ++j)
            in[static_cast<std::size_t>(j)] += o.dispatch[t][s] * c.x.at(t * unit_rows + row, j);
        const auto out = r.run_expert(params, static_cast<int>(s / p), in.data());
        for (index t = t0; t < std::min(T, t0 + group_size); ++t)
          for (std::size_t j = 0; j < out.size(); ++j) o.y[t * unit_rows + row][j] += o.combine[t][s] * out[j];
      }
  return o;
}
template <class Case>
void check_by_hand(Case& c, index group_size, int unit_rows = 1) {
  c.forward();
  const want o = by_hand(c, group_size, unit_rows);
  const auto& p = c.plan();
  double worst = 0, plan_worst = 0;
  for (index t = 0; t < p.tokens; ++t)
    for (index s = 0; s < p.dispatch.cols; ++s)
      plan_worst = std::max({plan_worst, std::abs(p.dispatch.get(t, s) - o.dispatch[t][s]),
                             std::abs(p.combine.get(t, s) - o.combine[t][s])});
  for (index t = 0; t < c.y.rows; ++t)
    for (index j = 0; j < c.y.cols; ++j) worst = std::max(worst, std::abs(c.y.at(t, j) - o.y[t][j]));
  CHECK(plan_worst < 1e-12);
  CHECK(worst < 1e-11);
}

}  // namespace

TEST_CASE("Soft MoE by the definition: experts, slots, images, temperatures") {
  for (const int E : {1, 2, 5, 16, 70})
    for (const index slots : {1, 3})
      for (const index tokens : {1, 4, 13}) {
        layer_case<soft_layer> c(config_of(E, slots, tokens), tokens * 3, static_cast<std::uint64_t>(E), 2);
        c.w.step().temperature = 1.25f;
        check_by_hand(c, tokens);
        layer_case<plain_layer> d(config_of<plain_layer>(E, slots, tokens), tokens * 3, static_cast<std::uint64_t>(E));
        check_by_hand(d, tokens);
        layer_case<batch_layer> b(config_of<batch_layer>(E, slots, 0), tokens * 3, static_cast<std::uint64_t>(E));
        check_by_hand(b, tokens * 3);
      }
  // More tokens than one tile of rows and than one tile of products, more slots than one block of columns.
  layer_case<soft_layer> c(config_of(30, 3, 300), 600, 4, 2);
  check_by_hand(c, 300);
}

TEST_CASE("Soft MoE: every gradient") {
  for (const float temperature : {1.0f, 1.5f}) {
    layer_case<soft_layer> c(config_of(3, 2, 6), 18, 5);
    c.w.step().temperature = temperature;
    const auto r = check_gradients(c);
    CHECK(r.worst < 1e-6);
    CHECK(r.checked > 200);
    CHECK(std::abs(grads_of(c.w).at("router.scale")[0]) > 1e-3);
    layer_case<plain_layer> d(config_of<plain_layer>(3, 2, 6), 18, 5);
    d.w.step().temperature = temperature;
    CHECK(check_gradients(d).worst < 1e-6);
    layer_case<batch_layer> b(config_of<batch_layer>(3, 2, 0), 11, 5);
    CHECK(check_gradients(b).worst < 1e-6);
  }
  auto head = config_of<head_layer>(3, 1, 5);
  head.classes = 4;
  layer_case<head_layer> h(head, 10, 6);
  check_by_hand(h, 5);
  CHECK(check_gradients(h).worst < 1e-6);
}

TEST_CASE("slots = 0: round(n factor / E) slots of an expert, at least one") {
  const auto slots_of = [](int experts, index tokens, float factor) {
    auto config = config_of(experts, 0, tokens);
    config.router.factor = factor;
    layer_case<soft_layer> c(config, tokens, 17);
    return static_cast<index>(values_of(c.w).at("router.phi").size()) / 5 / experts;
  };
  CHECK(slots_of(4, 10, 1) == 3);  // 2.5 goes up
  CHECK(slots_of(4, 9, 1) == 2);
  CHECK(slots_of(4, 9, 2) == 5);
  CHECK(slots_of(4, 9, 0.1f) == 1);
  CHECK(slots_of(196, 196, 1) == 1);
  auto config = config_of(3, 0, 6);
  config.router.factor = 2;
  layer_case<soft_layer> some(config, 12, 18), same(config_of(3, 4, 6), 12, 18);
  some.forward(), same.forward();
  for (index t = 0; t < 12; ++t) CHECK(some.y.row_same_bits(t, same.y, t));
}

TEST_CASE("noise on the logits: the definition with the drawn numbers, every gradient, none in evaluation") {
  const auto check = [&]<class Layer>(index tokens, index units) {
    auto config = config_of<Layer>(3, 2, tokens);
    config.router.noise_std = 0.7f;
    layer_case<Layer> c(config, units, 19, 2);
    c.w.step().temperature = 1.25f, c.w.step().noise = 0.5f, c.w.step().step = 3;
    const index group = tokens ? tokens : units;
    check_by_hand(c, group);
    const tensor<double> first = c.y;
    const auto r = check_gradients(c);
    CHECK(r.worst < 1e-6);
    CHECK(r.checked > 200);
    c.w.step().step = 4;
    check_by_hand(c, group);
    CHECK_FALSE(c.y.row_same_bits(0, first, 0));
    c.w.ctx().mode = polymoe::run_mode::eval;
    check_by_hand(c, group);
  };
  check.operator()<soft_layer>(6, 18);
  check.operator()<plain_layer>(6, 18);
  check.operator()<batch_layer>(0, 18);
}

TEST_CASE("whole images as units over the batch: payload blocks are mixed row by row") {
  auto config = config_of<images_layer>(3, 2, 0);
  config.unit_rows = 4;
  layer_case<images_layer> c(config, 28, 7);
  check_by_hand(c, 7, 4);
  CHECK(check_gradients(c).worst < 1e-6);
}

TEST_CASE("one unit in a group: dispatch is 1, the layer a softmax mixture over slots") {
  layer_case<soft_layer> c(config_of(3, 2, 1), 5, 8);
  c.forward();
  for (index t = 0; t < 5; ++t)
    for (index s = 0; s < 6; ++s) CHECK(c.plan().dispatch.get(t, s) == 1);
}

TEST_CASE("images do not mix on the image axis, and do over the batch") {
  layer_case<soft_layer> c(config_of(3, 2, 6), 18, 9);
  c.forward();
  const auto before = c.y;
  for (index j = 0; j < 5; ++j) c.x.put(8, j, 2.5);
  c.forward();
  for (index t = 0; t < 18; ++t) CHECK(c.y.row_same_bits(t, before, t) == (t < 6 || t >= 12));
  layer_case<batch_layer> b(config_of<batch_layer>(3, 2, 0), 18, 9);
  b.forward();
  const auto then = b.y;
  for (index j = 0; j < 5; ++j) b.x.put(8, j, 2.5);
  b.forward();
  for (index t = 0; t < 18; ++t) CHECK_FALSE(b.y.row_same_bits(t, then, t));
}

TEST_CASE("matrices are distributions, also at logits of 1e4") {
  layer_case<plain_layer> c(config_of<plain_layer>(4, 2, 9), 18, 10);
  c.x.randomise(3, 2e4);
  c.forward();
  const auto& p = c.plan();
  for (int t = 0; t < 18; ++t) {
    double sum = 0;
    for (int s = 0; s < 8; ++s) sum += p.combine.get(t, s);
    CHECK(sum == doctest::Approx(1).epsilon(1e-12));
  }
  for (int g = 0; g < 2; ++g)
    for (int s = 0; s < 8; ++s) {
      double sum = 0;
      for (int t = 9 * g; t < 9 * g + 9; ++t) sum += p.dispatch.get(t, s);
      CHECK(sum == doctest::Approx(1).epsilon(1e-12));
    }
  CHECK(c.y.all_finite());
  c.backward();
  CHECK(c.dx.all_finite());
}

TEST_CASE("equal logits mix evenly; statistics") {
  layer_case<soft_layer> c(config_of(4, 2, 6), 12, 11);
  set_parameter(c.w, "router.scale", {0.0});
  c.forward();
  for (int t = 0; t < 12; ++t)
    for (int s = 0; s < 8; ++s) {
      CHECK(c.plan().dispatch.get(t, s) == doctest::Approx(1.0 / 6).epsilon(1e-14));
      CHECK(c.plan().combine.get(t, s) == doctest::Approx(1.0 / 8).epsilon(1e-14));
    }
  const auto& s = c.stats();
  CHECK((s.mixture && s.placed == 48 && s.bad_rows == 0 && s.drop_rate() == 0));
  CHECK(s.entropy == doctest::Approx(std::log(8.0)));
  CHECK(s.margin == doctest::Approx(0));
  for (int e = 0; e < 4; ++e) CHECK(s.gate_mass[e] == doctest::Approx(3));
  polymoe::analysis::slot_similarity similar;
  similar.add(c.plan());
  CHECK(similar.dispatch().least == doctest::Approx(similar.dispatch().most));
  CHECK(similar.combine().mean == doctest::Approx(1.0 / 8));
  CHECK(similar.dispatch_cosine() == doctest::Approx(1));
  CHECK(similar.combine_cosine() == doctest::Approx(1));
  // The gradient of the scale is there at zero.
  c.backward();
  CHECK(grads_of(c.w).at("router.scale")[0] != 0);
}

TEST_CASE_TEMPLATE("same bits for any number of threads and whatever the memory held before", Layer, soft_layer,
                   batch_layer, layer<soft<float>, cpu>, layer<soft<polymoe::bf16>, cpu>) {
  const bool whole = std::is_same_v<Layer, batch_layer>;
  same_bits_everywhere<Layer>(config_of<Layer>(20, 4, whole ? 0 : 110), 330);
}

TEST_CASE_TEMPLATE("an image's output is the same bits alone, at another place, in batches of 1, 3 and 7", Layer,
                   layer<soft<float>, cpu>, layer<soft<polymoe::bf16>, cpu>) {
  constexpr index tokens = 37;
  const auto config = config_of<Layer>(4, 3, tokens);
  layer_case<Layer> all(config, 7 * tokens, 31);
  all.forward();
  for (const auto& images : std::vector<std::vector<index>>{{4}, {0}, {6, 4, 1}, {0, 4, 2}, {3, 2, 1, 0, 6, 5, 4}}) {
    const auto n = static_cast<index>(images.size());
    layer_case<Layer> c(config, n * tokens, 31, n == 3 ? 2 : 1);
    const auto row = [&](index t) { return images[static_cast<std::size_t>(t / tokens)] * tokens + t % tokens; };
    for (index t = 0; t < n * tokens; ++t)
      for (index j = 0; j < 5; ++j) c.x.put(t, j, all.x.at(row(t), j));
    c.forward();
    bool same = true;
    for (index t = 0; t < n * tokens; ++t) same = same && c.y.row_same_bits(t, all.y, row(t));
    CHECK_MESSAGE(same, n, " images, the first ", images[0]);
  }
}

TEST_CASE_TEMPLATE("bad rows take part in nothing", Layer, soft_layer, layer<soft<float>, cpu>,
                   layer<soft<polymoe::bf16>, cpu>) {
  layer_case<Layer> c(config_of<Layer>(3, 2, 6), 18, 12), good(config_of<Layer>(3, 2, 5), 15, 12);
  for (const double bad : {not_a_number, HUGE_VAL, -HUGE_VAL}) {
    // One bad unit in each image, and gradients that are not finite there, as a loss of NaN gives.
    for (const index t : {index{2}, index{8}, index{17}})
      for (index j = 0; j < 5; ++j) c.x.put(t, j, j == 1 ? bad : 1), c.dy.put(t, j, not_a_number);
    c.forward();
    c.backward();
    CHECK(c.stats().bad_rows == 3);
    index at = 0;
    for (index t = 0; t < 18; ++t) {
      const bool is_bad = t == 2 || t == 8 || t == 17;
      for (index j = 0; j < 5; ++j)
        if (is_bad)
          CHECK((std::isnan(c.y.at(t, j)) && c.dx.at(t, j) == 0));
        else
          good.x.put(at, j, c.x.at(t, j)), good.dy.put(at, j, c.dy.at(t, j));
      at += !is_bad;
    }
    good.forward();
    good.backward();
    const double most = std::is_same_v<Layer, soft_layer> ? 1e-13 : sizeof(typename Layer::scalar) == 4 ? 1e-5 : 3e-2;
    std::vector<double> a, b;
    at = 0;
    for (index t = 0; t < 18; ++t) {
      if (t == 2 || t == 8 || t == 17) continue;
      for (index j = 0; j < 5; ++j)
        a.push_back(c.y.at(t, j)), b.push_back(good.y.at(at, j)), a.push_back(c.dx.at(t, j)),
            b.push_back(good.dx.at(at, j));
      ++at;
    }
    CHECK(norm_ratio(a, b) < most);
    const auto ga = grads_of(c.w), gb = grads_of(good.w);
    for (const auto& [name, g] : ga) CHECK_MESSAGE(norm_ratio(g, gb.at(name)) < most, name);
  }
  for (index t = 0; t < 6; ++t) c.x.put(t, 0, not_a_number);
  c.forward();
  c.backward();
  CHECK(c.stats().bad_rows == 8);
  for (const auto& [name, g] : grads_of(c.w))
    for (const double v : g) CHECK(std::isfinite(v));
}

TEST_CASE("float and bf16 follow double") {
  layer_case<soft_layer> high(config_of(6, 2, 20), 60, 13);
  const auto compare = [&]<class Layer>(double most) {
    layer_case<Layer> low(config_of<Layer>(6, 2, 20), 60, 13);
    for (index i = 0; i < low.w.values().cols; ++i)
      low.w.values().ptr[0][i] = static_cast<float>(high.w.values().ptr[0][i]);
    low.w.refresh();
    for (index t = 0; t < 60; ++t)
      for (index j = 0; j < 5; ++j) high.x.put(t, j, low.x.at(t, j)), high.dy.put(t, j, low.dy.at(t, j));
    low.forward(), high.forward();
    low.backward(), high.backward();
    std::vector<double> y, dx;
    for (index t = 0; t < 60; ++t)
      for (index j = 0; j < 5; ++j) y.push_back(low.y.at(t, j)), dx.push_back(low.dx.at(t, j));
    CHECK(norm_ratio(y, high.y.plane[0]) < most);
    CHECK(norm_ratio(dx, high.dx.plane[0]) < most);
    const auto got = grads_of(low.w), exact = grads_of(high.w);
    for (const auto& [name, g] : got) CHECK_MESSAGE(norm_ratio(g, exact.at(name)) < most, name);
  };
  compare.operator()<layer<soft<float>, cpu>>(2e-5);
  compare.operator()<layer<soft<polymoe::bf16>, cpu>>(5e-2);
}

TEST_CASE("dual numbers carry the derivative of outputs and gradients") {
  using dual_layer = layer<soft<polymoe::dual<double>>, cpu>;
  tangents_follow<dual_layer, soft_layer>(config_of<dual_layer>(3, 2, 6), config_of(3, 2, 6), 12);
}

TEST_CASE("no units, fewer units, and what is refused") {
  layer_case<soft_layer> c(config_of(3, 2, 6), 18, 14);
  c.w.forward(c.x.get().rows_at(0, 0), c.y.get().rows_at(0, 0));
  c.w.backward(c.dy.get().rows_at(0, 0), c.dx.get().rows_at(0, 0));
  c.w.forward(c.x.get().rows_at(0, 6), c.y.get().rows_at(0, 6));
  c.w.backward(c.dy.get().rows_at(0, 6), c.dx.get().rows_at(0, 6));
  check_by_hand(c, 6);
  CHECK(refuses([&] { c.w.forward(c.x.get().rows_at(0, 7), c.y.get().rows_at(0, 7)); }, {"7 units", "6 tokens"}));
  CHECK(refuses([] { soft_layer{config_of(3, -1, 6)}; }, {"slots is -1"}));
  CHECK(refuses([] { batch_layer{config_of<batch_layer>(3, 0, 0)}; }, {"slots is 0 over the batch"}));
  auto config = config_of(3, 0, 6);
  config.router.factor = 0;
  CHECK(refuses([&] { soft_layer{config}; }, {"factor 0"}));
  config.router.factor = 1e6f, config.group_size = 2000;
  CHECK(refuses([&] { soft_layer{config}; }, {"666666667 slots", "1048576"}));
  config.router.factor = 1, config.router.noise_std = -2;
  CHECK(refuses([&] { soft_layer{config}; }, {"noise_std is -2"}));
  CHECK(refuses([] { soft_layer{config_of(3, 1, 0)}; }, {"need group_size", "axis::batch"}));
  CHECK(refuses([] { batch_layer{config_of<batch_layer>(3, 1, 4)}; }, {"take group_size 0, it is 4"}));
}

TEST_CASE("a batch in pieces is one group: outputs and gradients of the image axis, and the definition") {
  // 2100 units are 9 pieces of 256, the last short; as one image they are one piece.
  const index units = 2100;
  layer_case<batch_layer> b(config_of<batch_layer>(3, 2, 0), units, 15, 2);
  layer_case<soft_layer> i(config_of(3, 2, units), units, 15);
  for (const index t : {index{0}, index{300}, index{2099}}) b.x.put(t, 2, not_a_number), i.x.put(t, 2, not_a_number);
  b.forward(), i.forward();
  b.backward(), i.backward();
  std::vector<double> one, other;
  for (index t = 0; t < units; ++t)
    for (index j = 0; j < 5; ++j) {
      CHECK(std::isnan(b.y.at(t, j)) == std::isnan(i.y.at(t, j)));
      if (std::isnan(b.y.at(t, j))) continue;
      one.push_back(b.y.at(t, j)), other.push_back(i.y.at(t, j));
      one.push_back(b.dx.at(t, j)), other.push_back(i.dx.at(t, j));
    }
  CHECK(norm_ratio(one, other) < 1e-13);
  const auto ga = grads_of(b.w), gb = grads_of(i.w);
  for (const auto& [name, g] : ga) CHECK_MESSAGE(norm_ratio(g, gb.at(name)) < 1e-12, name);
  CHECK(b.stats().bad_rows == 3);
  CHECK(b.stats().entropy == doctest::Approx(i.stats().entropy));
  CHECK(b.stats().margin == doctest::Approx(i.stats().margin));
  layer_case<batch_layer> c(config_of<batch_layer>(3, 2, 0), 700, 16, 2);
  check_by_hand(c, 700);
}

TEST_CASE("a piece whose units are all bad adds nothing") {
  layer_case<batch_layer> b(config_of<batch_layer>(3, 2, 0), 600, 17, 2),
      rest(config_of<batch_layer>(3, 2, 0), 344, 17);
  for (index t = 0; t < 256; ++t) b.x.put(t, 0, not_a_number);
  for (index t = 256; t < 600; ++t)
    for (index j = 0; j < 5; ++j) rest.x.put(t - 256, j, b.x.at(t, j)), rest.dy.put(t - 256, j, b.dy.at(t, j));
  b.forward(), rest.forward();
  b.backward(), rest.backward();
  double worst = 0;
  for (index t = 256; t < 600; ++t)
    for (index j = 0; j < 5; ++j)
      worst = std::max(
          {worst, std::abs(b.y.at(t, j) - rest.y.at(t - 256, j)), std::abs(b.dx.at(t, j) - rest.dx.at(t - 256, j))});
  CHECK(worst < 1e-12);
}

namespace {
/// Bytes asked for at bind.
struct asked {
  double saved, scratch;
};
template <class Module>
asked bytes_of(const Module& m, index units, int threads) {
  polymoe::binder<cpu> b;
  b.threads = threads;
  (void)m.bind(b, units);
  return {static_cast<double>(b.saved.peak()), static_cast<double>(b.scratch.peak())};
}
}  // namespace

TEST_CASE(
    "memory: an image adds what units and slots need, never units times slots; scratch grows with threads alone") {
  constexpr index T = 512, E = 256, S = 512, D = 16;
  constexpr double whole_matrix = 8.0 * T * S;
  using routing = soft_layer::routing_type;
  const routing r({.dim = D,
                   .experts = E,
                   .group_size = T,
                   .router = {.slots = S / E},
                   .capacity = {},
                   .combine = {},
                   .balance = {}});
  // Beyond 16 images the sums for parameters are as many as they will be.
  const asked a = bytes_of(r, 16 * T, 1), b = bytes_of(r, 32 * T, 1), c = bytes_of(r, 32 * T, 3);
  CHECK((b.saved - a.saved) / 16 < 40.0 * (T + S));
  CHECK((b.saved - a.saved) / 16 < whole_matrix / 20);
  CHECK((a.scratch == b.scratch && c.saved == b.saved));
  CHECK(c.scratch == doctest::Approx(3 * b.scratch).epsilon(1e-3));
  CHECK(b.scratch < whole_matrix);  // 128 of its 512 rows
  // Images of eight times the units have more tiles, not larger ones.
  const routing longer({.dim = D,
                        .experts = E,
                        .group_size = 8 * T,
                        .router = {.slots = S / E},
                        .capacity = {},
                        .combine = {},
                        .balance = {}});
  CHECK(bytes_of(longer, 32 * T, 1).scratch < b.scratch + 40.0 * 8 * T);
  // What moves rows keeps nothing.
  using mover = soft_layer::apply_type::Mover;
  const mover m({.in = D, .out = D, .group_slots = S, .group_size = T});
  const auto moving = [&](index images, int threads) {
    polymoe::binder<cpu> own;
    own.threads = threads;
    m.bind(own, images * T, images);
    CHECK(own.saved.peak() == 0);
    return static_cast<double>(own.scratch.peak());
  };
  CHECK(moving(1, 1) == moving(64, 1));
  CHECK(moving(64, 3) == doctest::Approx(3 * moving(64, 1)).epsilon(1e-3));
  CHECK(moving(64, 1) < 2 * whole_matrix);  // four matrices of 128 rows, and the slots
  // The whole layer: slots of an image are E rows for experts, and still far from a matrix.
  auto config = config_of(E, S / E, T);
  config.dim = D, config.hidden = 4;
  const soft_layer whole(config);
  const asked d = bytes_of(whole, 16 * T, 2), e = bytes_of(whole, 32 * T, 2);
  CHECK((e.saved - d.saved + e.scratch - d.scratch) / 16 < whole_matrix / 4);
  // Over the batch: one group, cut into at most 16 pieces.
  config.group_size = 0;
  layer<soft<double, axis::batch>, cpu>::config batch;
  batch.dim = D, batch.hidden = 4, batch.experts = E, batch.router.slots = S / E;
  const batch_layer all(batch);
  const asked f = bytes_of(all, 16 * T, 2), g = bytes_of(all, 32 * T, 2);
  CHECK(g.saved - f.saved < 40.0 * 16 * T);
  CHECK(f.scratch == g.scratch);
}

TEST_CASE("counting and describing") {
  const auto config = config_of(3, 2, 6);
  const auto one = soft_layer::count(config, 12);
  CHECK(one.params == 3 * (5 * 4 + 4 + 4 * 5 + 5) + 6 * 5 + 1);
  CHECK(one.macs == 3 * 6 * 5 * 12 + 12 * 2 * 5 * 4);
  const std::string text = soft_layer(config).describe();
  for (const char* part : {"K=all through slots", "router soft slots", "plan of slots, dispatch and combine [T, E*C]"})
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
}

}  // namespace moe_test
