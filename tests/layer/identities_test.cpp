// Identities between the routers of the four papers (papers.md, section 8).  Those that other files hold: a mixture is
// top_k with K = E (mixture_test), expert choice with C = n is the mixture (expert_choice_test), Soft MoE of one unit
// is a softmax mixture over slots (soft_slots_test).  A k-sparse plan with k = n is the unconstrained one: below,
// against a plan found in another way; that k = n leaves every solver's bits is in transport_solvers_test and
// sparse_transport_test.
// with: scores
#include <map>

#include "support/transport_by_hand.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;

template <class Router, class Expert = polymoe::expert::mlp<polymoe::act::gelu_tanh>>
struct routed_by : polymoe::spec {
  using scalar = double;
  using router = Router;
  using expert = Expert;
};
template <class Router>
struct bounded_by : routed_by<Router> {
  using capacity = polymoe::capacity::bounded<>;
};
/// Experts that do nothing, interpolated with the unit.
template <class Router, class Capacity>
struct nothing_done : routed_by<Router, polymoe::expert::identity> {
  using capacity = Capacity;
  using combine = polymoe::combine::interpolated;
};
template <class Layer>
typename Layer::config small(int classes = 0) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 3, c.experts = 4, c.classes = classes;
  return c;
}
/// Outputs, input gradients and the gradients of every parameter of b, which may have another name in a.
template <class A, class B>
void same_function(A& a, B& b, const std::map<std::string, std::string>& name_in_a = {}) {
  a.forward(), b.forward();
  a.backward(), b.backward();
  CHECK(norm_ratio(a.y.plane[0], b.y.plane[0]) < 1e-12);
  CHECK(norm_ratio(a.dx.plane[0], b.dx.plane[0]) < 1e-11);
  const auto ga = grads_of(a.w), gb = grads_of(b.w);
  int compared = 0;
  for (const auto& [name, g] : gb) {
    const std::string other = name_in_a.count(name) ? name_in_a.at(name) : name;
    REQUIRE(ga.count(other) == 1);
    ++compared;
    CHECK_MESSAGE(norm_ratio(ga.at(other), g) < 1e-10, name);
  }
  CHECK(compared > 10);
}

}  // namespace

TEST_CASE("paper B's sparse gate with K = E, without noise, dropout and standardisation, is its soft gate") {
  using head = polymoe::expert::head<polymoe::act::relu>;
  using Sparse = layer<routed_by<polymoe::with_bias<polymoe::top_k<
      4, score::gate_dropout<score::logit_dropout<score::noisy_learned<score::largest_softmax<4>>>>>>, head>, cpu>;
  using Soft = layer<routed_by<polymoe::with_bias<polymoe::mixture<>>, head>, cpu>;
  layer_case<Sparse> a(small<Sparse>(3), 19, 71);
  layer_case<Soft> b(small<Soft>(3), 19, 71);
  a.w.ctx().mode = b.w.ctx().mode = polymoe::run_mode::eval;
  same_function(a, b);
}

TEST_CASE("Sinkhorn without iterations is the row softmax: token choice and expert choice, by plan and by score") {
  const auto check = [](auto* sinkhorn, auto* plain) {
    using A = std::remove_pointer_t<decltype(sinkhorn)>;
    using B = std::remove_pointer_t<decltype(plain)>;
    auto config = small<A>();
    auto other = small<B>();
    config.router.iterations = 0;
    config.group_size = other.group_size = 9;
    layer_case<A> a(config, 23, 72);
    layer_case<B> b(other, 23, 72);
    a.w.step().temperature = b.w.step().temperature = 0.6f;
    same_function(a, b);
  };
  using tc = layer<bounded_by<polymoe::top_k<2>>, cpu>;
  using ec = layer<bounded_by<polymoe::expert_choice<>>, cpu>;
  check(static_cast<layer<bounded_by<polymoe::top_k<2, score::sinkhorn<score::by_plan>>>, cpu>*>(nullptr),
        static_cast<tc*>(nullptr));
  check(static_cast<layer<bounded_by<polymoe::top_k<2, score::sinkhorn<>>>, cpu>*>(nullptr), static_cast<tc*>(nullptr));
  check(static_cast<layer<bounded_by<polymoe::expert_choice<score::sinkhorn<score::by_plan>>>, cpu>*>(nullptr),
        static_cast<ec*>(nullptr));
  check(static_cast<layer<bounded_by<polymoe::expert_choice<score::sinkhorn<>>>, cpu>*>(nullptr),
        static_cast<ec*>(nullptr));
}

TEST_CASE(
    "a k-sparse plan with k = n is the dense quadratic plan, found in another way; with a smaller k it is another") {
  using exact = score::sparse_transport<score::solver::newton>;
  using quasi = score::sparse_transport<score::solver::lbfgs>;
  const int n = 12, E = 4;
  for (const bool columns : {true, false})
    for (const float gamma : {1.0f, 0.2f}) {
      const matrix s = softmax_rows(random_matrix(n, E, 3, 78));
      const solved_cells dense = solve_on(s, every_cell(s), static_cast<double>(gamma));
      REQUIRE(dense.end == solved_cells::found);
      const auto distance = [&]<class Score>(Score o, index nonzeros, index limit) {
        o.gamma = gamma, o.nonzeros = nonzeros;
        plan_cells<double> c(o, s, E, columns, limit);
        o.plan_group(polymoe::scalar_block{}, c.view);
        double worst = 0;
        for (int t = 0; t < n; ++t)
          for (int e = 0; e < E; ++e)
            worst = std::max(worst, std::abs(c.plan.at(t, e) - dense.at(t, e)));
        return worst;
      };
      const index length = columns ? n : E;
      exact o;
      o.tolerance = 1e-12f;
      CHECK(distance(o, length, 1) < 1e-8);
      CHECK(distance(o, 0, length) < 1e-8);  // the capacity's C = n, or K = E
      CHECK(distance(o, exact::everything, 1) < 1e-8);
      quasi l;
      l.iterations = 500, l.tolerance = 1e-7f;
      CHECK(distance(l, length, 1) < 1e-4);
      // The dense plan has a line with more cells than this.
      index most = 0;
      for (index line = 0; line < (columns ? E : n); ++line) {
        index held = 0;
        for (index i = 0; i < length; ++i)
          held += (columns ? dense.at(i, line) : dense.at(line, i)) > 1e-6;
        most = std::max(most, held);
      }
      CHECK(most > 1);
      CHECK(distance(o, most - 1, 1) > 1e-3);
    }
  // A layer whose experts take every unit, C = n: gates are the dense plan.
  using weighing = score::sparse_transport<score::solver::newton, score::by_plan>;
  using Layer = layer<bounded_by<polymoe::expert_choice<weighing>>, cpu>;
  auto config = small<Layer>();
  config.capacity.factor = E, config.router.tolerance = 1e-12f;
  layer_case<Layer> c(config, n, 79);
  c.w.step().temperature = 0.25f;
  c.forward();
  matrix z = logits_of(c);
  for (auto& row : z)
    for (double& x : row) x *= 4;
  const solved_cells dense = solve_on(softmax_rows(z), every_cell(z), 1);
  REQUIRE(dense.end == solved_cells::found);
  int picks = 0, unused = 0;
  for (int t = 0; t < n; ++t)
    polymoe::for_each_pick(c.plan(), t, [&](int, int slot, int e) {
      const double want = dense.at(t, e);
      ++picks, unused += want == 0;
      CHECK(std::abs(c.plan().gate.get(0, slot) - want) < 1e-8);
    });
  CHECK(unused > 0);
  CHECK(picks == n * E);
}

TEST_CASE("routing by an oracle's labels is a hard tree of classifiers: each one alone with its units") {
  using Tree = layer<routed_by<polymoe::fixed<>, polymoe::expert::head<polymoe::act::relu>>, cpu>;
  using Leaf = layer<routed_by<polymoe::mixture<score::one>, polymoe::expert::head<polymoe::act::relu>>, cpu>;
  const std::vector<int> label = {2, 0, 1, 1, 3, 2, 0, 0, 2, 1, 3, 0, 2};
  auto config = small<Tree>(3);
  config.router.ids = label.data();
  layer_case<Tree> tree(config, 13, 73);
  tree.forward(), tree.backward();
  const auto params = values_of(tree.w), grads = grads_of(tree.w);
  for (int e = 0; e < 4; ++e) {
    std::vector<index> mine;
    for (std::size_t t = 0; t < label.size(); ++t)
      if (label[t] == e) mine.push_back(static_cast<index>(t));
    auto one = small<Leaf>(3);
    one.experts = 1;
    layer_case<Leaf> leaf(one, static_cast<index>(mine.size()), 1);
    const std::string at = "experts." + std::to_string(e) + ".";
    for (const char* name : {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"})
      set_parameter(leaf.w, "experts.0." + std::string(name), params.at(at + name));
    for (std::size_t i = 0; i < mine.size(); ++i) {
      for (index j = 0; j < 5; ++j) leaf.x.put(static_cast<index>(i), j, tree.x.at(mine[i], j));
      for (index j = 0; j < 3; ++j) leaf.dy.put(static_cast<index>(i), j, tree.dy.at(mine[i], j));
    }
    leaf.forward(), leaf.backward();
    for (std::size_t i = 0; i < mine.size(); ++i) {
      for (index j = 0; j < 3; ++j)
        CHECK(leaf.y.at(static_cast<index>(i), j) == doctest::Approx(tree.y.at(mine[i], j)).epsilon(1e-12));
      for (index j = 0; j < 5; ++j)
        CHECK(leaf.dx.at(static_cast<index>(i), j) ==
              doctest::Approx(tree.dx.at(mine[i], j)).epsilon(1e-12).scale(1e-3));
    }
    const auto own = grads_of(leaf.w);
    for (const char* name : {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"})
      CHECK(norm_ratio(own.at("experts.0." + std::string(name)), grads.at(at + name)) < 1e-12);
  }
  for (const double g : grads.at("router.weight")) CHECK(g == 0);
}

TEST_CASE("strictly balanced experts with thresholds below every score are the mixture; with C = n in training, too") {
  struct strict_spec : bounded_by<polymoe::strictly_balanced<>> {
    using combine = polymoe::combine::affinity;
  };
  using Strict = layer<strict_spec, cpu>;
  using Mixed = layer<routed_by<polymoe::mixture<>>, cpu>;
  auto config = small<Strict>();
  config.capacity.factor = 4;
  layer_case<Strict> a(config, 17, 74);
  layer_case<Mixed> b(small<Mixed>(), 17, 74);
  for (const auto mode : {polymoe::run_mode::train, polymoe::run_mode::eval}) {
    a.w.ctx().mode = b.w.ctx().mode = mode;
    same_function(a, b);
    CHECK(a.stats().placed == 17 * 4);
  }
}

TEST_CASE("Soft MoE of one token a group and one slot an expert, without lengths, is the mixture") {
  using Slots = layer<routed_by<polymoe::soft_slots<polymoe::axis::image, false>>, cpu>;
  using Mixed = layer<routed_by<polymoe::mixture<>>, cpu>;
  auto config = small<Slots>();
  config.group_size = 1, config.router.slots = 1;
  layer_case<Slots> a(config, 17, 76);
  layer_case<Mixed> b(small<Mixed>(), 17, 76);
  const std::map<std::string, std::string> phi = {{"router.weight", "router.phi"}};
  for (const auto& [name, v] : values_of(b.w)) set_parameter(a.w, phi.count(name) ? phi.at(name) : name, v);
  a.w.step().temperature = b.w.step().temperature = 0.7f;
  same_function(a, b, phi);
  CHECK(grads_of(a.w).size() == grads_of(b.w).size());
}

TEST_CASE("interpolated experts that do nothing are the identity, whoever serves a unit and whatever overflows") {
  const auto check = [](auto* l) {
    using Layer = std::remove_pointer_t<decltype(l)>;
    auto config = small<Layer>();
    config.group_size = 9;
    if constexpr (Layer::spec::capacity::limited) config.capacity.factor = 0.25f;
    layer_case<Layer> c(config, 23, 77);
    for (index j = 0; j < 5; ++j) c.x.put(4, j, not_a_number);
    c.forward(), c.backward();
    for (index t = 0; t < 23; ++t)
      for (index j = 0; j < 5; ++j) {
        if (t == 4) {
          CHECK((std::isnan(c.y.at(t, j)) && c.dx.at(t, j) == 0));
          continue;
        }
        CHECK(std::abs(c.y.at(t, j) - c.x.at(t, j)) < 1e-14);
        CHECK(std::abs(c.dx.at(t, j) - c.dy.at(t, j)) < 1e-14);
      }
    // Experts serve somebody, and leave somebody out.
    const auto& p = c.plan();
    double least = 1, most = 0;
    for (int t = 0; t < 23; ++t)
      if (t != 4) least = std::min(least, p.skip.get(0, t)), most = std::max(most, p.skip.get(0, t));
    CHECK(least < 1);
    if (Layer::spec::capacity::limited && !p.fallback_slot) CHECK(most == 1);
    for (const auto& [name, g] : grads_of(c.w))
      for (const double x : g) CHECK_MESSAGE(std::abs(x) < 1e-13, name);
  };
  using polymoe::capacity::bounded;
  using two = polymoe::top_k<2, score::sigmoid>;
  namespace over = polymoe::overflow;
  const auto of = []<class Router, class Capacity>(Router*, Capacity*) {
    return static_cast<layer<nothing_done<Router, Capacity>, cpu>*>(nullptr);
  };
  check(of(static_cast<two*>(nullptr), static_cast<bounded<over::drop>*>(nullptr)));
  check(of(static_cast<two*>(nullptr), static_cast<bounded<over::identity>*>(nullptr)));
  check(of(static_cast<two*>(nullptr), static_cast<bounded<over::fallback>*>(nullptr)));
  check(of(static_cast<polymoe::expert_choice<score::sigmoid>*>(nullptr), static_cast<bounded<>*>(nullptr)));
  check(
      of(static_cast<polymoe::mixture<score::sigmoid>*>(nullptr), static_cast<polymoe::capacity::unlimited*>(nullptr)));
}

TEST_CASE("where every unit likes another expert, the balanced assignment is Switch routing") {
  using Base = layer<routed_by<polymoe::top_k<1, score::balanced_assignment<score::softmax>>>, cpu>;
  using Switch = layer<routed_by<polymoe::top_k<1>>, cpu>;
  layer_case<Base> a(small<Base>(), 16, 75);
  layer_case<Switch> b(small<Switch>(), 16, 75);
  std::vector<double> w(20, 0.0);
  for (std::size_t e = 0; e < 4; ++e) w[5 * e + e] = 3;
  set_parameter(a.w, "router.weight", w), set_parameter(b.w, "router.weight", w);
  for (index t = 0; t < 16; ++t)
    for (auto* x : {&a.x, &b.x}) x->put(t, t * 5 % 4, 2 + x->at(t, 4));
  same_function(a, b);
  for (int e = 0; e < 4; ++e) CHECK(b.stats().served[e] == 4);
}

}  // namespace moe_test
