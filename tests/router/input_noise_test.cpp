// Jitter and dropout of a router's input: the factors from the streams by hand, logits and gradients with them, experts
// that see nothing of it, evaluation, bits for any number of threads.
// sanitize: yes
// with: gates
#include <polymoe/score/gate_dropout.hpp>
#include <polymoe/score/gate_jitter.hpp>

#include "support/column_layer.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;
using polymoe::top_k;

template <class Router, class T = double>
struct plain : polymoe::spec {
  using scalar = T;
  using router = Router;
};
template <class T>
struct through : plain<top_k<1, score::gate_jitter<score::gate_dropout<>>>, T> {
  using expert = polymoe::expert::identity;
};
using jittered = score::gate_jitter<>;
using dropped = score::gate_dropout<>;
using both = score::gate_jitter<score::gate_dropout<>>;
/// The whole sparse gate of paper B, input dropout included.
using sparse_gate = score::gate_dropout<
    score::standardized<score::logit_dropout<score::noisy_learned<score::largest_softmax<2>>>>>;

template <class Layer>
typename Layer::config small() {
  typename Layer::config c;
  c.dim = 5, c.hidden = 3, c.experts = 4;
  if constexpr (requires { c.router.jitter; }) c.router.jitter = 0.4f;
  if constexpr (requires { c.router.input_dropout; }) c.router.input_dropout = 0.3f;
  return c;
}
/// The factor of element i, written again: one 32-bit word of a stream for each element.
double factor(const polymoe::random_root& root, std::uint64_t at, double jitter, double p, index i) {
  const auto draw = [&](const char* name) {
    const polymoe::words4 w = root.stream(polymoe::stream_id(name), at).bits(static_cast<std::uint64_t>(i / 4));
    const std::uint32_t words[] = {w.a, w.b, w.c, w.d};
    return (words[i % 4] >> 8) / 16777216.0;
  };
  double f = 1;
  if (jitter > 0) f *= 1 + jitter * (2 * draw("router.jitter") - 1);
  if (p > 0) f *= draw("router.input_dropout") < p ? 0 : 1 / (1 - p);
  return f;
}

}  // namespace

TEST_CASE_TEMPLATE("logits are products of the input times its factors; experts see the input", T, double, float,
                   polymoe::bf16) {
  using Layer = layer<through<T>, cpu>;
  const double jitter = static_cast<double>(0.4f), p = static_cast<double>(0.3f);
  const double accuracy = std::is_same_v<T, double> ? 1e-12 : 3e-6;
  auto config = small<Layer>();
  config.dim = 21, config.hidden = 0;  // rows that begin inside a block of four draws
  layer_case<Layer> c(config, 600, 11);
  c.w.step().step = 6, c.w.step().micro = 2;
  c.forward();
  const auto w = values_of(c.w).at("router.weight");
  int zeros = 0;
  double mean = 0, least = 9, most = 0;
  for (index t = 0; t < 600; ++t) {
    std::vector<double> z(4, 0.0);
    for (index j = 0; j < 21; ++j) {
      const double f = factor(c.w.ctx().random, std::uint64_t{6} << 20 | 2, jitter, p, t * 21 + j);
      zeros += f == 0, mean += f / (600 * 21);
      if (f > 0) least = std::min(least, f), most = std::max(most, f);
      for (std::size_t e = 0; e < 4; ++e) z[e] += w[e * 21 + static_cast<std::size_t>(j)] * c.x.at(t, j) * f;
    }
    for (index e = 0; e < 4; ++e)
      CHECK(as_double(c.w.saved().routing.logits.get(t, e)) ==
            doctest::Approx(z[static_cast<std::size_t>(e)]).epsilon(accuracy).scale(1));
    const double gate = as_double(c.plan().gate.get(0, c.plan().slot_of[t]));
    for (index j = 0; j < 21; ++j)
      CHECK(std::abs(c.y.at(t, j) - gate * c.x.at(t, j)) < (std::is_same_v<T, polymoe::bf16> ? 1e-2 : 1e-6));
  }
  CHECK(std::abs(zeros / 12600.0 - p) < 0.015);
  CHECK(std::abs(mean - 1) < 0.02);
  CHECK((least > 0.6 / 0.7 - 1e-6 && least < 0.6 / 0.7 + 0.01));
  CHECK((most < 1.4 / 0.7 + 1e-6 && most > 1.4 / 0.7 - 0.01));
  // Another step, another micro-batch: other factors.  The same one: the same bits.
  const auto logits = [&] {
    c.forward();
    return as_double(c.w.saved().routing.logits.get(5, 1));
  };
  const double here = logits();
  CHECK(logits() == here);
  c.w.step().micro = 3;
  CHECK(logits() != here);
}

TEST_CASE_TEMPLATE("evaluation, and a noise of 0, are those of a router without", Score, jittered, dropped, both) {
  using Layer = layer<plain<top_k<2, Score>, float>, cpu>;
  using Bare = layer<plain<top_k<2>, float>, cpu>;
  layer_case<Layer> c(small<Layer>(), 37, 12);
  layer_case<Bare> bare(small<Bare>(), 37, 12);
  bare.forward(), bare.backward();
  const auto same = [&] {
    c.forward(), c.backward();
    return c.y.same_bits(bare.y) && c.dx.same_bits(bare.dx) && grads_of(c.w) == grads_of(bare.w);
  };
  CHECK(!same());
  c.w.step().noise = 0;
  CHECK(same());
  c.w.step().noise = 1;
  c.w.ctx().mode = polymoe::run_mode::eval;
  CHECK(same());
}

TEST_CASE("the noise of the step multiplies the jitter, not the dropout") {
  const polymoe::random_stream none{};
  CHECK(polymoe::input_noise({0.2f, 0.1f}, 0.5f, none, none).jitter == 0.1f);
  CHECK(polymoe::input_noise({0.2f, 0.1f}, 0.5f, none, none).dropout == 0.1f);
  CHECK(!polymoe::input_noise({0.2f, 0.1f}, 0, none, none).active());
}

TEST_CASE_TEMPLATE("every gradient, through the factors of the step", Router, top_k<2, jittered>, top_k<2, both>,
                   top_k<2, sparse_gate>, polymoe::with_bias<polymoe::mixture<both>>,
                   polymoe::expert_choice<score::gate_dropout<score::sinkhorn<score::by_plan>>>) {
  using Layer = layer<plain<Router>, cpu>;
  layer_case<Layer> c(small<Layer>(), 17, 13);
  c.w.step().temperature = 0.7f;
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 10);
}

TEST_CASE("an input that is not finite stays so where its element is dropped, and changes nothing for the others") {
  using Layer = layer<plain<top_k<2, dropped>>, cpu>;
  auto config = small<Layer>();
  config.router.input_dropout = 0.9f;
  layer_case<Layer> c(config, 40, 14), clean(config, 40, 14);
  clean.forward(), clean.backward();
  for (index t = 0; t < 40; t += 3) c.x.put(t, t % 5, t % 2 ? not_a_number : HUGE_VAL);
  c.forward(), c.backward();
  CHECK(c.stats().bad_rows == 14);
  for (index t = 0; t < 40; ++t)
    if (t % 3) CHECK((c.y.row_same_bits(t, clean.y, t) && c.dx.row_same_bits(t, clean.dx, t)));
  for (const auto& [name, g] : grads_of(c.w))
    for (const double v : g) CHECK(std::isfinite(v));
}

TEST_CASE_TEMPLATE("same bits for any number of threads", Layer, layer<plain<top_k<2, both>, float>, cpu>,
                   layer<plain<top_k<2, both>, polymoe::bf16>, cpu>, layer<plain<polymoe::mixture<both>>, cpu>) {
  same_bits_everywhere<Layer>(small<Layer>(), 2500);
}
TEST_CASE("dual numbers carry the derivative through the factors") {
  using Dual = layer<plain<polymoe::mixture<both>, polymoe::dual<double>>, cpu>;
  using Plain = layer<plain<polymoe::mixture<both>>, cpu>;
  tangents_follow<Dual, Plain>(small<Dual>(), small<Plain>(), 13);
}

TEST_CASE("shares outside [0, 1) are refused with their number") {
  using Layer = layer<plain<top_k<2, both>>, cpu>;
  auto c = small<Layer>();
  c.router.jitter = 1;
  CHECK_THROWS_WITH_AS(Layer{c}, "routing: the router's jitter is 1, it must be in [0, 1)", polymoe::error);
  c.router.jitter = 0.1f, c.router.input_dropout = -0.5f;
  CHECK_THROWS_WITH_AS(Layer{c}, "routing: the router's input_dropout is -0.5, it must be in [0, 1)", polymoe::error);
}

}  // namespace moe_test
