// One router shared by two layers: one routing, two applies with payloads of other widths and block sizes.  The
// router's gradients are the sum over both, and come out once.
// with: choice
#include "support/moe_reference.hpp"

#include <polymoe/plan/invariants.hpp>

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
using polymoe::cpu;
using polymoe::view;

struct shared : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::fallback>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};

/// What a user writes: a module of three modules.
struct two_layers {
  using scalar = double;
  using backend = cpu;
  using routing_type = polymoe::routing<shared, cpu>;
  using apply_type = polymoe::apply<shared, cpu>;
  struct saved {
    routing_type::saved routing;
    apply_type::saved a, b;
  };
  routing_type routing;
  apply_type a, b;
  index group = 9;

  static routing_type::config routing_config() {
    routing_type::config c;
    c.dim = 3, c.experts = 4, c.group_size = 9;
    c.capacity.factor = 0.75f;
    c.balance.get<balance::importance>().weight = 10, c.balance.get<balance::load>().weight = 10;
    return c;
  }
  two_layers()
      : routing(routing_config()), a({.dim = 5, .hidden = 4, .out = 5, .experts = routing.plan_experts()}),
        b({.dim = 2, .hidden = 3, .out = 2, .experts = routing.plan_experts(), .unit_rows = 2}) {}
  template <class V>
  void visit(V& v) {
    v.child("router", routing), v.child("a", a), v.child("b", b);
  }
  saved bind(polymoe::binder<cpu>& binder, index units) const {
    saved s;
    s.routing = routing.bind(binder, units);
    s.a = a.bind(binder, routing.max_slots(units), units, polymoe::ceil_div(units, group));
    s.b = b.bind(binder, routing.max_slots(units), units, polymoe::ceil_div(units, group));
    return s;
  }
  void refresh(polymoe::context<cpu>& c) { routing.refresh(c), a.refresh(c), b.refresh(c); }
};

struct fixture {
  static constexpr index units = 22;
  polymoe::workspace<two_layers> w{two_layers{}, {.max_rows = units, .threads = 1, .seed = 3}};
  tensor<double> r{units, 3}, xa{units, 5}, xb{2 * units, 2}, da{units, 5}, db{2 * units, 2};
  tensor<double> ya{units, 5}, yb{2 * units, 2}, dr{units, 3}, dxa{units, 5}, dxb{2 * units, 2};
  fixture() {
    randomise_parameters(w, 3);
    r.randomise(1), xa.randomise(2), xb.randomise(3), da.randomise(4), db.randomise(5);
  }
  double objective() {
    auto& s = w.saved();
    w.module().routing.forward(w.ctx(), r.get(), s.routing);
    w.module().a.forward(w.ctx(), xa.get(), s.routing.plan, ya.get(), s.a);
    w.module().b.forward(w.ctx(), xb.get(), s.routing.plan, yb.get(), s.b);
    double f = s.routing.values.get(0, s.routing.values.cols - 1);
    for (std::size_t i = 0; i < da.plane[0].size(); ++i) f += da.plane[0][i] * ya.plane[0][i];
    for (std::size_t i = 0; i < db.plane[0].size(); ++i) f += db.plane[0][i] * yb.plane[0][i];
    return f;
  }
  void backward() {
    auto& s = w.saved();
    w.zero_grads();
    w.module().routing.open_backward(w.ctx(), s.routing);
    w.module().a.backward(w.ctx(), da.get(), s.routing.plan, s.routing.d_gate, s.routing.d_skip, dxa.get(), s.a);
    w.module().b.backward(w.ctx(), db.get(), s.routing.plan, s.routing.d_gate, s.routing.d_skip, dxb.get(), s.b);
    w.module().routing.backward(w.ctx(), dr.get(), s.routing);
  }
};

}  // namespace

TEST_CASE("one plan, two layers: every gradient, the router's being the sum over both") {
  fixture f;
  f.objective();
  CHECK(polymoe::plan_violation(f.w.saved().routing.plan) == "");
  CHECK(f.w.saved().routing.stats.overflow > 0);
  f.backward();
  const auto before = decisions(f.w.saved().routing.plan);
  double worst = 0;
  int checked = 0, flipped = 0;
  const auto at = [&](double& place, double gradient, bool packed) {
    const double x = place, h = 1e-5;
    place = x + h;
    if (packed) f.w.refresh();
    const double up = f.objective();
    bool same = decisions(f.w.saved().routing.plan) == before;
    place = x - h;
    if (packed) f.w.refresh();
    const double down = f.objective();
    same = same && decisions(f.w.saved().routing.plan) == before;
    place = x;
    if (!same) {
      ++flipped;
      return;
    }
    ++checked;
    worst = std::max(worst, std::abs((up - down) / (2 * h) - gradient) / std::max(0.1, std::abs(gradient)));
  };
  for (std::size_t i = 0; i < f.dr.plane[0].size(); ++i) at(f.r.plane[0][i], f.dr.plane[0][i], false);
  for (std::size_t i = 0; i < f.dxa.plane[0].size(); ++i) at(f.xa.plane[0][i], f.dxa.plane[0][i], false);
  for (std::size_t i = 0; i < f.dxb.plane[0].size(); ++i) at(f.xb.plane[0][i], f.dxb.plane[0][i], false);
  for (const auto& e : f.w.entries()) {
    for (index i = 0; i < e.size; ++i) at(f.w.values().ptr[0][e.offset + i], f.w.grads().ptr[0][e.offset + i], true);
    f.w.refresh();
  }
  CHECK(worst < 1e-6);
  CHECK(checked > 300);
  CHECK(flipped < checked / 50);
}

TEST_CASE("names of a shared router: one router, two sets of experts") {
  fixture f;
  const auto names = values_of(f.w);
  CHECK(names.count("router.weight") == 1);
  CHECK(names.count("a.experts.0.fc1.weight") == 1);
  CHECK(names.count("b.experts.4.fc2.bias") == 1);
}

TEST_CASE("an apply refuses a plan its memory was not bound for") {
  fixture f;
  f.objective();
  auto& s = f.w.saved();
  polymoe::binder<cpu> dry;
  auto small = f.w.module().a.bind(dry, 10, 5, 1);
  CHECK(
      refuses([&] { f.w.module().a.forward(f.w.ctx(), f.xa.get(), s.routing.plan, f.ya.get(), small); }, {"22", "5"}));
  tensor<double> wrong(fixture::units, 4);
  CHECK(refuses([&] { f.w.module().routing.backward(f.w.ctx(), wrong.get(), s.routing); }, {"[22, 4]", "[22, 3]"}));
}

}  // namespace moe_test
