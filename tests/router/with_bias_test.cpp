// with_bias: the logits of a router with a bias are those of one more input that is always 1, forward and backward;
// whole layers with every gradient; the parameter counts of paper B's heads.
// sanitize: yes
// with: gates
#include <polymoe/router/with_bias.hpp>

#include <polymoe/nn/linear.hpp>

#include "support/column_layer.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;
using polymoe::routing;
using polymoe::with_bias;

template <class Router, class T = double>
struct biased_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
};
template <class Router, class T = double>
struct head : biased_spec<Router, T> {
  using expert = polymoe::expert::head<polymoe::act::relu>;
};
/// The sparse gate of paper B as coded.
using coded_gate =
    polymoe::top_k<2, score::standardized<score::logit_dropout<score::noisy_learned<score::largest_softmax<2>>>>>;

/// Router `R` alone on `rows` units of D inputs: logits, gradients by name and of the input, after gates got `d_gate`.
template <class R, class T>
struct routed {
  using Module = routing<biased_spec<R, T>, cpu>;
  polymoe::workspace<Module> w;
  tensor<T> x, dx;
  routed(index rows, index dim, int experts)
      : w(Module({.dim = dim, .experts = experts}), {.max_rows = rows, .threads = 2, .seed = 3}),
        x(rows, dim),
        dx(rows, dim) {}
  void run() {
    w.module().forward(w.ctx(), x.get(), w.saved());
    w.module().open_backward(w.ctx(), w.saved());
    auto& d = w.saved().d_gate;
    for (index s = 0; s < d.cols; ++s) d.set(0, s, T(static_cast<float>(noise(9, static_cast<std::uint64_t>(s)))));
    w.zero_grads();
    w.module().backward(w.ctx(), dx.get(), w.saved());
  }
};

}  // namespace

TEST_CASE_TEMPLATE("a bias is the weight of one more input that is 1: logits, gates and every gradient", Router,
                   polymoe::top_k<2>, polymoe::mixture<>, polymoe::expert_choice<score::sinkhorn<score::by_plan>>,
                   coded_gate) {
  constexpr bool two = polymoe::projections<Router> > 1;
  for (const index rows : {1, 7, 700}) {  // of one and of several pieces of the weight gradient
    const index D = 5;
    const int E = 4;
    routed<with_bias<Router>, double> with(rows, D, E);
    routed<Router, double> wide(rows, D + 1, E);
    randomise_parameters(with.w, 4);
    with.x.randomise(5);
    for (index t = 0; t < rows; ++t)
      for (index j = 0; j <= D; ++j) wide.x.put(t, j, j < D ? with.x.at(t, j) : 1.0);
    const named own = values_of(with.w);
    const auto widen = [&](const char* weight, const char* bias) {
      std::vector<double> w;
      for (index e = 0; e < E; ++e) {
        for (index j = 0; j < D; ++j) w.push_back(own.at(weight)[static_cast<std::size_t>(e * D + j)]);
        w.push_back(own.at(bias)[static_cast<std::size_t>(e)]);
      }
      set_parameter(wide.w, weight, w);
    };
    widen("weight", "bias");
    if (two) widen("noise_weight", "noise_bias");
    with.run(), wide.run();
    for (index t = 0; t < rows; ++t) {
      for (int e = 0; e < E; ++e) {
        CHECK(std::abs(with.w.saved().logits.get(t, e) - wide.w.saved().logits.get(t, e)) < 1e-13);
        if (two) CHECK(std::abs(with.w.saved().raw.get(t, e) - wide.w.saved().raw.get(t, e)) < 1e-13);
      }
      for (index j = 0; j < D; ++j) CHECK(std::abs(with.dx.at(t, j) - wide.dx.at(t, j)) < 1e-12);
    }
    const named a = grads_of(with.w), b = grads_of(wide.w);
    const auto compare = [&](const char* weight, const char* bias) {
      double size = 0;
      for (index e = 0; e < E; ++e) {
        for (index j = 0; j < D; ++j)
          CHECK(std::abs(a.at(weight)[static_cast<std::size_t>(e * D + j)] -
                         b.at(weight)[static_cast<std::size_t>(e * (D + 1) + j)]) < 1e-11);
        const double d = b.at(weight)[static_cast<std::size_t>(e * (D + 1) + D)];
        CHECK(std::abs(a.at(bias)[static_cast<std::size_t>(e)] - d) < 1e-11);
        size += std::abs(d);
      }
      // Sinkhorn's columns take a bias back.
      CHECK((polymoe::plans_groups<Router> ? size < 1e-12 : size > 1e-3));
    };
    compare("weight", "bias");
    if (two) compare("noise_weight", "noise_bias");
  }
}

TEST_CASE_TEMPLATE("layers with a bias: every gradient", Router, polymoe::top_k<2>, polymoe::mixture<>, coded_gate,
                   polymoe::expert_choice<score::sinkhorn<score::by_plan>>) {
  using Layer = layer<biased_spec<with_bias<Router>>, cpu>;
  typename Layer::config config;
  config.dim = 5, config.hidden = 3, config.experts = 4;
  layer_case<Layer> c(config, 17, 6);
  c.w.step().temperature = 0.7f;
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 10);
  CHECK(values_of(c.w).at("router.bias").size() == 4);
}

TEST_CASE("a bias alone decides where all weights are zero; a new one is zero, and no weight decay acts on it") {
  using Layer = layer<biased_spec<with_bias<polymoe::top_k<1>>>, cpu>;
  layer_case<Layer> c({.dim = 5, .hidden = 3, .experts = 4}, 9, 7);
  set_parameter(c.w, "router.weight", std::vector<double>(20, 0.0));
  set_parameter(c.w, "router.bias", {0.1, -1, 0.5, 0.2});
  c.forward();
  for (int t = 0; t < 9; ++t) CHECK(c.plan().expert_of[t] == 2);
  polymoe::workspace<Layer> fresh(Layer({.dim = 5, .hidden = 3, .experts = 4}), {.max_rows = 9, .seed = 7});
  int biases = 0;
  for (const auto& e : fresh.entries())
    if (e.name == "router.bias") {
      ++biases;
      CHECK((e.dims == std::vector<index>{4} && e.decays == polymoe::decay::no));
      for (index i = 0; i < 4; ++i) CHECK(fresh.values().ptr[0][e.offset + i] == 0);
    }
  CHECK(biases == 1);
}

TEST_CASE("units that are not finite give the bias no gradient, and no unit is one, too") {
  using Layer = layer<biased_spec<with_bias<polymoe::mixture<>>>, cpu>;
  layer_case<Layer> c({.dim = 5, .hidden = 3, .experts = 4}, 9, 8);
  layer_case<Layer> without({.dim = 5, .hidden = 3, .experts = 4}, 9, 8);
  c.x.put(3, 1, not_a_number), c.x.put(8, 0, HUGE_VAL);
  for (index j = 0; j < 5; ++j) c.dy.put(3, j, not_a_number), without.dy.put(3, j, 0), without.dy.put(8, j, 0);
  c.forward(), c.backward(), without.forward(), without.backward();
  CHECK(c.stats().bad_rows == 2);
  const auto a = grads_of(c.w).at("router.bias"), b = grads_of(without.w).at("router.bias");
  for (std::size_t e = 0; e < 4; ++e) CHECK(a[e] == doctest::Approx(b[e]).epsilon(1e-12));
  c.w.zero_grads();
  c.w.forward(c.x.get().rows_at(0, 0), c.y.get().rows_at(0, 0));
  c.w.backward(c.dy.get().rows_at(0, 0), c.dx.get().rows_at(0, 0));
  CHECK(grads_of(c.w).at("router.bias") == std::vector<double>(4, 0.0));
}

TEST_CASE_TEMPLATE("same bits for any number of threads", Layer,
                   layer<biased_spec<with_bias<polymoe::top_k<2>>, float>, cpu>,
                   layer<biased_spec<with_bias<polymoe::mixture<>>, polymoe::bf16>, cpu>) {
  same_bits_everywhere<Layer>({.dim = 5, .hidden = 3, .experts = 4}, 5000);
}
TEST_CASE("dual numbers carry the derivative through a bias") {
  using Router = with_bias<polymoe::mixture<>>;
  tangents_follow<layer<biased_spec<Router, polymoe::dual<double>>, cpu>, layer<biased_spec<Router>, cpu>>(
      {.dim = 5, .hidden = 3, .experts = 4}, {.dim = 5, .hidden = 3, .experts = 4}, 13);
}

TEST_CASE("the heads of paper B on ResNet-18 have the paper's numbers of parameters") {
  constexpr index backbone = 11168832;
  const auto of_head = []<class Layer>(Layer*) {
    const typename Layer::config c{.dim = 512, .hidden = 64, .experts = 8, .classes = 10};
    Layer l(c);
    polymoe::visitor<polymoe::master_t<typename Layer::scalar>> v;
    l.visit(v);
    CHECK(Layer::count(c, 1).params == v.param_count());
    return v.param_count();
  };
  CHECK(backbone + of_head(static_cast<layer<head<with_bias<polymoe::mixture<>>, float>, cpu>*>(nullptr)) == 11440792);
  CHECK(backbone + of_head(static_cast<layer<head<with_bias<coded_gate>, float>, cpu>*>(nullptr)) == 11444896);
  using linear = polymoe::nn::linear<float, cpu>;
  linear in({.in = 512, .out = 512}), out({.in = 512, .out = 10});
  polymoe::visitor<float> v;
  in.visit(v), out.visit(v);
  CHECK(backbone + v.param_count() == 11436618);
}

}  // namespace moe_test
