// Routers that are told where a unit belongs (paper D), and the sparse head of paper B as its code has it: whole
// layers, gradients in double against central differences, by the same draws of noise and dropout.
// with: mixtures
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;

struct super_class : polymoe::spec {
  using scalar = double;
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::top_k<1>;
  using balance = polymoe::balance::supervised;
};
/// Standardised, noisy, dropped and thresholded logits; the coded importance.
struct sparse_head : polymoe::spec {
  using scalar = double;
  using router =
      polymoe::top_k<2, score::standardized<score::logit_dropout<score::noisy_learned<score::largest_softmax<2>>>>>;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  using balance = polymoe::balance::importance_of_scores;
};
using told = layer<super_class, cpu>;
using head = layer<sparse_head, cpu>;

told::config small() {
  told::config c;
  c.dim = 5, c.hidden = 4, c.experts = 3, c.unit_rows = 2;
  c.balance.first.weight = 0.3f;
  return c;
}
const std::vector<int> wanted = {0, 2, -1, 1, 2, 0, 0, 1, 2};

}  // namespace

TEST_CASE("a router told the super-class of each image: the loss, every gradient, and nothing in evaluation") {
  layer_case<told> c(small(), 18, 61);
  c.w.ctx().targets = wanted.data();
  c.forward();
  const auto values = values_of(c.w);
  const auto& weight = values.at("router.weight");
  double want = 0;
  for (int u = 0; u < 9; ++u) {
    if (wanted[static_cast<std::size_t>(u)] < 0) continue;
    std::vector<double> z(3, 0.0);
    for (std::size_t e = 0; e < 3; ++e)
      for (std::size_t j = 0; j < 5; ++j)
        z[e] +=
            weight[e * 5 + j] * 0.5 * (c.x.at(2 * u, static_cast<index>(j)) + c.x.at(2 * u + 1, static_cast<index>(j)));
    double sum = 0;
    for (const double x : z) sum += std::exp(x);
    want -= (z[static_cast<std::size_t>(wanted[static_cast<std::size_t>(u)])] - std::log(sum)) / 8;
  }
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) ==
        doctest::Approx(static_cast<double>(0.3f) * want).epsilon(1e-12));
  const auto g = check_gradients(c);
  CHECK(g.worst < 1e-6);
  CHECK(g.flipped < g.checked / 50);

  c.w.ctx().mode = polymoe::run_mode::eval;
  c.w.ctx().targets = nullptr;
  c.forward();
  CHECK(c.w.module().balance_loss(c.w.ctx(), c.w.saved()) == 0);
}

TEST_CASE("a supervised router learns its targets where nothing else teaches it") {
  // Images of one class share a direction; the experts' output is not looked at.
  layer_case<told> c(small(), 18, 62);
  for (int u = 0; u < 9; ++u)
    for (int row = 0; row < 2; ++row) c.x.put(2 * u + row, u % 3, c.x.at(2 * u + row, u % 3) + 4);
  std::vector<int> target;
  for (int u = 0; u < 9; ++u) target.push_back((u + 1) % 3);
  c.w.ctx().targets = target.data();
  c.dy.fill(0);
  const auto right = [&] {
    int n = 0;
    for (int u = 0; u < 9; ++u) n += c.plan().expert_of[u] == target[static_cast<std::size_t>(u)];
    return n;
  };
  c.forward();
  CHECK(right() < 9);
  for (int step = 0; step < 60; ++step) {
    c.forward(), c.backward();
    for (index i = 0; i < c.w.values().cols; ++i) c.w.values().ptr[0][i] -= 2 * c.w.grads().ptr[0][i];
    c.w.refresh();
  }
  c.forward();
  CHECK(right() == 9);
}

TEST_CASE("missing and impossible targets are refused with their numbers, before any work") {
  layer_case<told> c(small(), 18, 63);
  CHECK_THROWS_WITH_AS(
      c.forward(),
      doctest::Contains(
          "routing: balance::supervised needs the wanted expert of each of the 9 units in context::targets"),
      polymoe::error);
  std::vector<int> target(9, 0);
  target[4] = 3;
  c.w.ctx().targets = target.data();
  CHECK_THROWS_WITH_AS(c.forward(), doctest::Contains("routing: unit 4 is wanted by expert 3, there are 3 (-1: none)"),
                       polymoe::error);
}

TEST_CASE("the sparse head of paper B as coded: every gradient with noise, dropout and the balance loss at work") {
  head::config c;
  c.dim = 6, c.hidden = 4, c.experts = 5, c.classes = 3;
  c.router.floor = 0.3f, c.router.dropout = 0.2f;
  c.balance.first.weight = 2;
  layer_case<head> net(c, 16, 64);
  net.forward();
  const auto g = check_gradients(net);
  CHECK(g.worst < 1e-6);
  CHECK(g.flipped < g.checked / 20);
  int zeros = 0;
  const auto& routed = net.w.saved().routing;
  for (index t = 0; t < 16; ++t)
    for (index e = 0; e < 5; ++e) zeros += routed.noisy.get(t, e) == 0;
  CHECK(zeros > 4);
  CHECK(zeros < 32);
  // In evaluation nothing is drawn: two calls give the same bits, and the routed logits have mean 0.
  net.w.ctx().mode = polymoe::run_mode::eval;
  net.forward();
  for (index t = 0; t < 16; ++t) {
    double mean = 0;
    for (index e = 0; e < 5; ++e) mean += routed.noisy.get(t, e);
    CHECK(std::abs(mean) < 1e-12);
  }
  c.router.dropout = 1;
  CHECK_THROWS_WITH_AS(head{c}, "routing: the router's dropout is 1, it must be in [0, 1)", polymoe::error);
}

}  // namespace moe_test
