// Dropout of experts' hidden rows: the share that is dropped and what the rest is scaled by, gradients with the mask of
// the step, the same bits under every save policy and number of threads, none in evaluation, refused where it has no
// place.
// with: scores
#include "support/moe_layer.hpp"

#include <polymoe/expert/gated_mlp.hpp>
#include <polymoe/expert/identity.hpp>

namespace moe_test {
namespace {

namespace act = polymoe::act;
namespace expert = polymoe::expert;
namespace save = polymoe::save;
using polymoe::cpu;
using polymoe::layer;

template <class T, class Expert, class Save = save::everything>
struct dropping : polymoe::spec {
  using scalar = T;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using expert = Expert;
  using save = Save;
};
struct all_of_them : polymoe::spec {
  using scalar = double;
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::head<>;
};
template <class Spec>
typename layer<Spec, cpu>::config dropping_config(double dropout, index hidden = 6) {
  typename layer<Spec, cpu>::config c;
  c.dim = 5, c.hidden = hidden, c.experts = 4, c.expert_dropout = dropout;
  if constexpr (Spec::expert::head_of_classes) c.classes = 3;
  if constexpr (requires { c.capacity.factor; }) c.capacity.factor = 0.75f;
  return c;
}
using smooth = dropping<double, expert::mlp<>>;

TEST_CASE("hidden numbers are dropped with the asked share, the others scaled; none in evaluation") {
  layer_case<layer<smooth, cpu>> c(dropping_config<smooth>(0.25, 64), 300, 1),
      plain(dropping_config<smooth>(0, 64), 300, 1);
  c.forward(), plain.forward();
  const index rows = c.plan().begin[4];
  REQUIRE(rows > 150);
  const auto with = c.w.saved().apply.expert.kept[1], without = plain.w.saved().apply.expert.kept[1];
  index dropped = 0;
  for (index r = 0; r < rows; ++r)
    for (index j = 0; j < 64; ++j) {
      if (with.get(r, j) == 0) ++dropped;
      else CHECK(with.get(r, j) == doctest::Approx(without.get(r, j) / 0.75).epsilon(1e-14));
    }
  // Six standard deviations of the share.
  const double n = static_cast<double>(rows * 64);
  CHECK(std::abs(static_cast<double>(dropped) / n - 0.25) < 6 * std::sqrt(0.25 * 0.75 / n));
  c.w.ctx().mode = plain.w.ctx().mode = polymoe::run_mode::eval;
  c.forward(), plain.forward();
  for (index t = 0; t < 300; ++t) CHECK(c.y.row_same_bits(t, plain.y, t));
}

TEST_CASE("another step draws another mask, another slot too") {
  layer_case<layer<smooth, cpu>> c(dropping_config<smooth>(0.5, 64), 40, 2);
  const auto mask = [&](index row) {
    std::vector<bool> m;
    for (index j = 0; j < 64; ++j) m.push_back(c.w.saved().apply.expert.kept[1].get(row, j) == 0);
    return m;
  };
  c.forward();
  const auto first = mask(0);
  CHECK(first != mask(1));
  c.forward();
  CHECK(first == mask(0));
  c.w.step().step = 1;
  c.forward();
  CHECK(first != mask(0));
}

TEST_CASE_TEMPLATE("every gradient, with the mask of the step", Spec, smooth, dropping<double, expert::mlp<act::relu>>,
                   dropping<double, expert::gated_mlp<act::silu, true>>, all_of_them,
                   dropping<double, expert::mlp<>, save::pre_activation>,
                   dropping<double, expert::mlp<>, save::nothing>,
                   dropping<double, expert::mlp<>, save::without_output<save::everything>>,
                   dropping<double, expert::gated_mlp<>, save::without_output<save::input>>) {
  layer_case<layer<Spec, cpu>> c(dropping_config<Spec>(0.4), 13, 3);
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.checked > 100);
}

TEST_CASE_TEMPLATE("the same bits under every save policy and for any number of threads", Save, save::pre_activation,
                   save::input, save::nothing) {
  using kept = dropping<float, expert::mlp<>>;
  using remade = dropping<float, expert::mlp<>, Save>;
  layer_case<layer<kept, cpu>> a(dropping_config<kept>(0.3, 40), 700, 5);
  layer_case<layer<remade, cpu>> b(dropping_config<remade>(0.3, 40), 700, 5, 3);
  a.forward(), a.backward(), b.forward(), b.backward();
  for (index t = 0; t < 700; ++t) CHECK((a.y.row_same_bits(t, b.y, t) && a.dx.row_same_bits(t, b.dx, t)));
  CHECK(grads_of(a.w) == grads_of(b.w));
}

TEST_CASE("refused: a share outside [0, 1), and experts that have no hidden rows") {
  for (const double bad : {-0.1, 1.0})
    CHECK(refuses([&] { layer<smooth, cpu>{dropping_config<smooth>(bad)}; }, {"dropout is", "[0, 1)"}));
  using through = dropping<double, expert::identity>;
  CHECK(
      refuses([] { layer<through, cpu>{dropping_config<through>(0.1)}; }, {"dropout is 0.1", "this expert has none"}));
}

}  // namespace
}  // namespace moe_test
