// K = 1, and E = 1: the known traps.  With softmax before the selection the router learns from the task, renormalised
// it does not; one expert is a dense MLP; a tenth of the capacity drops almost everything and stays well defined.
// with: choice
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

using polymoe::cpu;
using polymoe::layer;

struct one : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<1>;
  using capacity = polymoe::capacity::bounded<>;
};
struct one_renormalised : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<1>;
  using expert = polymoe::expert::identity;
  using combine = polymoe::combine::renormalised<>;
};
using one_layer = layer<one, cpu>;

one_layer::config config(int experts, float factor) {
  one_layer::config c;
  c.dim = 4, c.hidden = 6, c.experts = experts;
  c.capacity.factor = factor;
  return c;
}
double size_of(const std::vector<double>& v) {
  double s = 0;
  for (const double x : v) s += x * x;
  return std::sqrt(s);
}

}  // namespace

TEST_CASE("with softmax before the selection the router of K = 1 has a gradient; renormalised it has none") {
  layer_case<one_layer> a(config(4, 100), 20, 61);
  a.forward();
  a.backward();
  CHECK(size_of(grads_of(a.w).at("router.weight")) > 0.1);
  reference r;
  r.k = 1;
  CHECK(reference_error(a, r) < 1e-11);

  using plain = layer<one_renormalised, cpu>;
  plain::config c;
  c.dim = 4, c.experts = 4;
  layer_case<plain> b(c, 20, 61);
  b.forward();
  b.backward();
  CHECK(size_of(grads_of(b.w).at("router.weight")) < 1e-14);
  CHECK(norm_ratio(b.y.plane[0], b.x.plane[0]) < 1e-15);   // identity experts with weight one
  CHECK(norm_ratio(b.dx.plane[0], b.dy.plane[0]) < 1e-14);
}

TEST_CASE("one expert is a dense MLP") {
  layer_case<one_layer> c(config(1, 1.25f), 20, 62);
  c.forward();
  c.backward();
  const auto p = values_of(c.w);
  reference r;
  r.dim = 4, r.hidden = 6, r.out = 4;
  for (index t = 0; t < 20; ++t) {
    const auto x = rows_of(c.x)[static_cast<std::size_t>(t)];
    const auto want = r.run_expert(p, 0, x.data());
    for (index j = 0; j < 4; ++j)
      CHECK(c.y.at(t, j) == doctest::Approx(want[static_cast<std::size_t>(j)]).epsilon(1e-12));
  }
  CHECK(size_of(grads_of(c.w).at("router.weight")) == 0);
  CHECK(c.stats().drop_rate() == 0);
  const auto g = check_gradients(c);
  CHECK(g.worst < 1e-6);
}

TEST_CASE("a capacity factor of a tenth: dropped rows are zero, with zero gradients, and the rate is measured") {
  layer_case<one_layer> c(config(3, 0.1f), 60, 63);
  c.forward();
  c.backward();
  int dropped = 0;
  for (int t = 0; t < 60; ++t) {
    if (c.plan().expert_of[t] >= 0) continue;
    ++dropped;
    for (index j = 0; j < 4; ++j) CHECK((c.y.at(t, j) == 0 && c.dx.at(t, j) == 0));
  }
  CHECK(dropped >= 54);
  CHECK(c.stats().drop_rate() == doctest::Approx(dropped / 60.0));
  const auto g = check_gradients(c);
  CHECK(g.worst < 1e-6);
}

TEST_CASE("a capacity above the number of units is clamped, factors of any size work") {
  for (const float factor : {1.0f, 3.0f, 1e6f}) {
    layer_case<one_layer> c(config(3, factor), 7, 64);
    c.forward();
    CHECK(c.plan().capacity <= 7);
    CHECK(c.y.all_finite());
  }
}

TEST_CASE("a workspace for no rows at all") {
  layer_case<one_layer> c(config(3, 1), 0, 66);
  c.forward();
  c.backward();
  CHECK(c.stats().units == 0);
  CHECK(c.stats().drop_rate() == 0);
  for (const auto& [name, g] : grads_of(c.w)) CHECK(size_of(g) == 0);
}

TEST_CASE("a router of zeros: everything goes to expert 0 and all gradients are finite") {
  layer_case<one_layer> c(config(5, 100), 9, 65);
  set_parameter(c.w, "router.weight", std::vector<double>(20, 0.0));
  c.forward();
  c.backward();
  for (int t = 0; t < 9; ++t) CHECK(c.plan().expert_of[t] == 0);
  CHECK(c.dx.all_finite());
  for (const auto& [name, g] : grads_of(c.w)) {
    for (const double v : g) CHECK(std::isfinite(v));
    if (name.rfind("experts.0", 0) != 0 && name.rfind("router", 0) != 0) CHECK(size_of(g) == 0);
  }
}

}  // namespace moe_test
