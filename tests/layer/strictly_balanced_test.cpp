// strictly_balanced: the batchwise mask in training, thresholds in evaluation, how they learn (the loss of Shazeer
// 2017, eq. 20, by hand), state rules, whole layers with every gradient.
// sanitize: yes
// with: columns
#include "support/column_layer.hpp"

namespace moe_test {
namespace {

using polymoe::cpu;
using polymoe::layer;
namespace score = polymoe::score;

template <class Score = score::softmax, class T = double>
struct balanced_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::strictly_balanced<Score>;
  using capacity = polymoe::capacity::bounded<>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
  using balance = polymoe::balance::z_loss;
};
using moe = layer<balanced_spec<>, cpu>;

moe::config small(double factor = 2, index group = 0) {
  moe::config c;
  c.dim = 5, c.hidden = 3, c.experts = 4, c.group_size = group;
  c.capacity.factor = static_cast<float>(factor), c.capacity.eval_factor = 4.0f;
  c.balance.first.weight = 2;
  return c;
}
/// State by name.
template <class W>
std::span<float> state(W& w, const std::string& name) {
  for (const auto& e : w.state_entries())
    if (e.name == name) return w.state().subspan(static_cast<std::size_t>(e.offset), static_cast<std::size_t>(e.size));
  FAIL("no state " << name);
  return {};
}
/// Which experts serve each unit, and with what weight.
template <class Case>
matrix gates(Case& c) {
  matrix g(static_cast<std::size_t>(c.x.rows), std::vector<double>(4, not_a_number));
  for (int t = 0; t < c.plan().tokens; ++t)
    polymoe::for_each_pick(c.plan(), t, [&](int, int slot, int e) {
      g[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)] = as_double(c.plan().gate.get(0, slot));
    });
  return g;
}
/// The loss of eq. 20 over all units, divided by their number, with the m best of every column of a group picked.
double mask_loss(const matrix& p, const std::vector<double>& threshold, int m, int group) {
  double loss = 0;
  const int n = static_cast<int>(p.size());
  for (int t0 = 0; t0 < n; t0 += group)
    for (std::size_t e = 0; e < threshold.size(); ++e) {
      std::vector<double> column;
      for (int t = t0; t < std::min(n, t0 + group); ++t) column.push_back(p[static_cast<std::size_t>(t)][e]);
      const auto best = best_k(column, std::min<int>(m, static_cast<int>(column.size())));
      for (std::size_t i = 0; i < column.size(); ++i) {
        const bool picked = std::find(best.begin(), best.end(), static_cast<int>(i)) != best.end();
        loss += ((column[i] > threshold[e]) - picked) * (column[i] - threshold[e]) / n;
      }
    }
  return loss;
}

}  // namespace

TEST_CASE("training is expert choice; evaluation takes what is above the thresholds, whoever else is there") {
  struct chosen_spec : balanced_spec<> {
    using router = polymoe::expert_choice<>;
  };
  layer_case<moe> c(small(2, 9), 23, 11);
  layer_case<layer<chosen_spec, cpu>> chosen([] {
    layer<chosen_spec, cpu>::config o;
    o.dim = 5, o.hidden = 3, o.experts = 4, o.group_size = 9;
    o.capacity.factor = 2, o.capacity.eval_factor = 4.0f, o.balance.first.weight = 2;
    return o;
  }(), 23, 11);
  c.forward(), chosen.forward();
  c.backward(), chosen.backward();
  CHECK(polymoe::plan_violation(c.plan()) == "");
  CHECK(c.y.same_bits(chosen.y));
  CHECK(c.dx.same_bits(chosen.dx));
  CHECK(grads_of(c.w) == grads_of(chosen.w));

  const auto threshold = state(c.w, "router.threshold");
  const std::vector<float> t = {0.3f, 0.15f, 0.4f, 0.05f};
  std::copy(t.begin(), t.end(), threshold.begin());
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.forward();
  CHECK(polymoe::plan_violation(c.plan()) == "");
  const matrix p = softmax_rows(logits_of(c)), got = gates(c);
  index above = 0;
  for (std::size_t u = 0; u < 23; ++u) {
    double sum = 0;
    for (std::size_t e = 0; e < 4; ++e) sum += p[u][e] > static_cast<double>(t[e]) ? p[u][e] : 0;
    for (std::size_t e = 0; e < 4; ++e) {
      const bool in = p[u][e] > static_cast<double>(t[e]);
      above += in;
      CHECK(std::isnan(got[u][e]) == !in);
      if (in) CHECK(got[u][e] == doctest::Approx(p[u][e] / sum).epsilon(1e-12));
    }
  }
  CHECK(c.stats().placed == above);
  CHECK(c.stats().choices == above);
  reference r;
  r.dim = 5, r.hidden = 3, r.experts = 4, r.out = 5;
  CHECK(gated_sum_error(c, r, got) < 1e-12);
  // A unit alone has the output it has in the batch.
  tensor<double> alone(1, 5);
  for (index u = 0; u < 23; ++u) {
    c.w.forward(c.x.get().rows_at(u, 1), alone.get());
    for (index j = 0; j < 5; ++j) CHECK(alone.at(0, j) == doctest::Approx(c.y.at(u, j)).epsilon(1e-12).scale(1));
  }
}

TEST_CASE("thresholds go down the gradient of the loss, once per step, over its micro-batches") {
  auto config = small(1.5, 8);
  config.router.threshold_rate = 0.25f;
  layer_case<moe> c(config, 24, 12);
  const auto threshold = state(c.w, "router.threshold"), gap = state(c.w, "router.threshold_gap");
  CHECK((threshold.size() == 4 && gap.size() == 5));
  const std::vector<float> first = {0.2f, 0.3f, 0.25f, 0.1f};
  std::copy(first.begin(), first.end(), threshold.begin());
  std::vector<double> want(first.begin(), first.end());
  for (int micro = 0; micro < 2; ++micro) {
    c.x.randomise(static_cast<std::uint64_t>(50 + micro));
    c.forward();
    const matrix p = softmax_rows(logits_of(c));
    for (std::size_t e = 0; e < 4; ++e) {
      std::vector<double> up(first.begin(), first.end()), down = up;
      up[e] += 1e-7, down[e] -= 1e-7;
      const int m = static_cast<int>(config.capacity.slots({8, 4, 1, true}));
      CHECK(mask_loss(p, up, m, 8) >= 0);
      want[e] -= 0.25 / 2 * (mask_loss(p, up, m, 8) - mask_loss(p, down, m, 8)) / 2e-7;
    }
    CHECK(std::equal(first.begin(), first.end(), threshold.begin()));  // until commit
  }
  // Evaluation leaves no trace.
  const std::vector<float> before(gap.begin(), gap.end());
  CHECK(before[4] == 2);
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.forward();
  CHECK(std::equal(before.begin(), before.end(), gap.begin()));
  c.w.module().commit(c.w.ctx());
  bool moved = false;
  for (std::size_t e = 0; e < 4; ++e) {
    CHECK(static_cast<double>(threshold[e]) == doctest::Approx(want[e]).epsilon(1e-5));
    moved = moved || threshold[e] != first[e];
    CHECK(gap[e] == 0);
  }
  CHECK((moved && gap[4] == 0));
  // What a refused step saw moves nothing, then or later.
  const std::vector<float> held(threshold.begin(), threshold.end());
  std::int32_t halted = 1;
  c.w.ctx().mode = polymoe::run_mode::train, c.w.ctx().halted = &halted;
  c.forward();
  CHECK(gap[4] == 1);
  c.w.module().commit(c.w.ctx());
  halted = 0;
  c.w.module().commit(c.w.ctx());
  CHECK((std::equal(held.begin(), held.end(), threshold.begin()) && gap[4] == 0));
  const std::vector<float> now(threshold.begin(), threshold.end());
  c.w.module().commit(c.w.ctx());
  CHECK(std::equal(now.begin(), now.end(), threshold.begin()));
}

TEST_CASE("learned thresholds let through about as many units as training picks") {
  auto config = small(1);
  config.router.threshold_rate = 0.05f;
  layer_case<moe> c(config, 400, 13);
  for (int step = 0; step < 300; ++step) {
    c.x.randomise(static_cast<std::uint64_t>(1000 + step));
    c.forward();
    c.w.module().commit(c.w.ctx());
  }
  c.x.randomise(7);
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.forward();
  for (int e = 0; e < 4; ++e) CHECK(std::abs(static_cast<double>(c.stats().served[e]) - 100) < 25);
}

TEST_CASE_TEMPLATE("layers: every gradient, in training", Score, score::softmax, score::sigmoid,
                   score::noisy_constant<score::softmax>) {
  using Layer = layer<balanced_spec<Score>, cpu>;
  typename Layer::config config;
  config.dim = 5, config.hidden = 3, config.experts = 4, config.group_size = 9;
  config.capacity.factor = 2, config.balance.first.weight = 2;
  layer_case<Layer> c(config, 23, 14);
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 10);
}

TEST_CASE("a bad unit is as if it were not in its group: choices, weights, and what thresholds learn from the others") {
  bad_unit_is_absent<moe>(small(), 15);
  // A gap is a mean over the finite units: here without a bad one, and with it.
  std::vector<double> want;
  for (const index bad : {index{-1}, index{2}}) {
    layer_case<moe> c(small(2, 8), 8, 17);
    const auto threshold = state(c.w, "router.threshold"), gap = state(c.w, "router.threshold_gap");
    std::fill(threshold.begin(), threshold.end(), 0.1f);
    if (bad >= 0) c.x.put(bad, 1, HUGE_VAL);
    c.forward();
    const matrix all = softmax_rows(logits_of(c));
    const int m = static_cast<int>(small(2).capacity.slots({8, 4, 1, true}));
    matrix p;
    for (index t = 0; t < 8; ++t)
      if (t != bad) p.push_back(all[static_cast<std::size_t>(t)]);
    int moved = 0;
    for (std::size_t e = 0; e < 4; ++e) {
      int above = 0;
      for (const auto& row : p) above += row[e] > static_cast<double>(threshold[e]);
      const int finite = static_cast<int>(p.size());
      const double mean = static_cast<double>(above - std::min(m, finite)) / finite;
      CHECK(static_cast<double>(gap[e]) == doctest::Approx(mean).epsilon(1e-6));
      moved += mean != 0;
    }
    CHECK((moved > 0 && gap[4] == 1));
  }
  // Evaluation compares nobody: the others keep their bits.
  layer_case<moe> good(small(), 16, 15), hurt(small(), 16, 15);
  for (const double bad : {not_a_number, HUGE_VAL, -HUGE_VAL}) {
    hurt.x.put(3, 1, bad);
    for (auto* c : {&good, &hurt}) {
      for (float& t : state(c->w, "router.threshold")) t = 0.2f;
      c->w.ctx().mode = polymoe::run_mode::eval;
      c->forward();
    }
    CHECK((good.stats().bad_rows == 0 && hurt.stats().bad_rows == 1));
    for (index t = 0; t < 16; ++t) CHECK((t == 3 ? std::isnan(hurt.y.at(t, 0)) : hurt.y.row_same_bits(t, good.y, t)));
  }
}

TEST_CASE("bad rows, one expert, no units; nobody above the thresholds gives zero") {
  layer_case<moe> c(small(), 16, 15);
  for (index j = 0; j < 5; ++j) c.x.put(3, j, not_a_number);
  for (const auto mode : {polymoe::run_mode::train, polymoe::run_mode::eval}) {
    c.w.ctx().mode = mode;
    c.forward(), c.backward();
    CHECK(c.stats().bad_rows == 1);
    CHECK(polymoe::plan_violation(c.plan()) == "");
    for (index t = 0; t < 16; ++t) CHECK(std::isfinite(c.y.at(t, 0)) == (t != 3));
    for (const auto& [name, g] : grads_of(c.w))
      for (const double v : g) CHECK(std::isfinite(v));
    for (const float v : c.w.state()) CHECK(std::isfinite(v));
    c.w.forward(c.x.get().rows_at(0, 0), c.y.get().rows_at(0, 0));
    c.w.backward(c.dy.get().rows_at(0, 0), c.dx.get().rows_at(0, 0));
  }
  CHECK(state(c.w, "router.threshold_gap")[4] == 1);  // no units are no call
  for (float& t : state(c.w, "router.threshold")) t = 2;
  c.forward();
  CHECK(c.stats().placed == 0);
  for (index t = 0; t < 16; ++t)
    if (t != 3) CHECK(c.y.at(t, 0) == 0);
  auto one = small(1);
  one.experts = 1;
  layer_case<moe> single(one, 6, 16);
  single.forward();
  CHECK(single.stats().placed == 6);
  same_bits_everywhere<layer<balanced_spec<score::softmax, float>, cpu>>([] {
    layer<balanced_spec<score::softmax, float>, cpu>::config f;
    f.dim = 5, f.hidden = 3, f.experts = 6, f.group_size = 50, f.capacity.factor = 1.5f;
    return f;
  }(), 330);
}

TEST_CASE("what is refused") {
  auto c = small();
  c.router.threshold_rate = -1;
  CHECK(refuses([&] { moe{c}; }, {"strictly_balanced: threshold_rate is -1"}));
}

}  // namespace moe_test
