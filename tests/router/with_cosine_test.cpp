// with_cosine: logits by hand, every gradient through lengths, projection and scale, the largest scale, rows of zeros,
// bad rows, bits, dual numbers, parameters and what they cost, refusals.
// sanitize: yes
// with: gates
#include <polymoe/router/with_cosine.hpp>

#include "support/column_layer.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
using polymoe::cpu;
using polymoe::layer;
using polymoe::with_bias;
using polymoe::with_cosine;

template <class Router, class T = double, class Balance = polymoe::balance::none>
struct cosine_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
  using balance = Balance;
};
using of_projection = with_bias<with_cosine<polymoe::top_k<2>>>;
using of_units = with_cosine<polymoe::mixture<>, false>;

template <class Layer>
typename Layer::config of_sizes(index dim = 5, index experts = 4) {
  typename Layer::config c;
  c.dim = dim, c.hidden = 3, c.experts = experts, c.router.cosine_dim = 3;
  if constexpr (requires { c.router.jitter; }) c.router.jitter = 0.4f;
  return c;
}
double scale_by_hand(const named& p, double largest = 100) {
  return std::min(std::exp(p.at("router.log_scale")[0]), largest);
}
/// h of a unit, and the logits with it, written again.
std::vector<double> compared_by_hand(const named& p, const std::vector<double>& x) {
  if (!p.count("router.projection")) return x;
  const auto& w = p.at("router.projection");
  std::vector<double> h;
  for (std::size_t i = 0; i * x.size() < w.size(); ++i) {
    double s = p.count("router.projection_bias") ? p.at("router.projection_bias")[i] : 0;
    for (std::size_t j = 0; j < x.size(); ++j) s += w[i * x.size() + j] * x[j];
    h.push_back(s);
  }
  return h;
}
std::vector<double> cosines_by_hand(const named& p, const std::vector<double>& x) {
  const auto h = compared_by_hand(p, x);
  const auto& w = p.at("router.weight");
  std::vector<double> z;
  for (std::size_t e = 0; e * h.size() < w.size(); ++e) {
    double dot = 0, hh = 1e-6, ww = 1e-6;
    for (std::size_t j = 0; j < h.size(); ++j) {
      const double v = w[e * h.size() + j];
      dot += h[j] * v, hh += h[j] * h[j], ww += v * v;
    }
    z.push_back(scale_by_hand(p) * dot / std::sqrt(hh * ww));
  }
  return z;
}
template <class Case>
std::vector<double> unit_of(const Case& c, index t) {
  std::vector<double> x;
  for (index j = 0; j < c.x.cols; ++j) x.push_back(c.x.at(t, j));
  return x;
}

}  // namespace

TEST_CASE_TEMPLATE("cosines: logits are scaled cosines of units, or of their projection", T, double, float,
                   polymoe::bf16) {
  const auto compare = []<class Layer>(Layer*) {
    // More than one tile of 256 units.
    layer_case<Layer> c(of_sizes<Layer>(), 300, 6);
    set_parameter(c.w, "router.log_scale", {1.25});
    c.forward();
    const named p = values_of(c.w);
    double worst = 0;
    for (index t = 0; t < 300; ++t) {
      const auto want = cosines_by_hand(p, unit_of(c, t));
      for (index e = 0; e < 4; ++e)
        worst = std::max(worst,
                         std::abs(as_double(c.w.saved().routing.logits.get(t, e)) - want[static_cast<std::size_t>(e)]));
    }
    // Logits of bf16 inputs are as exact as those of float.
    CHECK(worst < (std::is_same_v<T, double> ? 1e-12 : 1e-5));
  };
  compare(static_cast<layer<cosine_spec<of_projection, T>, cpu>*>(nullptr));
  compare(static_cast<layer<cosine_spec<of_units, T>, cpu>*>(nullptr));
}

TEST_CASE_TEMPLATE("cosines: every gradient of a layer, through lengths, projection and scale", Router,  //
                   of_projection, of_units, with_cosine<polymoe::expert_choice<score::sinkhorn<score::by_plan>>>,
                   with_bias<with_cosine<polymoe::top_k<2, score::gate_jitter<score::noisy_learned<>>>>>,
                   with_cosine<polymoe::top_k<1, score::gate_jitter<score::sigmoid>>, false>) {
  using Layer =
      layer<cosine_spec<Router, double, polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::z_loss>>,
            cpu>;
  auto config = of_sizes<Layer>();
  layer_case<Layer> c(config, 17, 7);
  c.w.step().temperature = 0.7f;
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 10);
  const named grads = grads_of(c.w);
  for (const char* name : {"router.weight", "router.log_scale"}) {
    double size = 0;
    for (const double x : grads.at(name)) size += std::abs(x);
    CHECK_MESSAGE(size > 1e-4, name);  // a check of zeros would say nothing
  }
  // A direction has no length: the gradient of an expert's row is orthogonal to it but for the 1e-6.
  const auto w = values_of(c.w).at("router.weight"), g = grads.at("router.weight");
  const std::size_t width = w.size() / 4;
  for (std::size_t e = 0; e < 4; ++e) {
    double dot = 0, ww = 0, gg = 0;
    for (std::size_t j = e * width; j < (e + 1) * width; ++j) dot += w[j] * g[j], ww += w[j] * w[j], gg += g[j] * g[j];
    CHECK(std::abs(dot) <= 1e-4 * std::sqrt(ww * gg));
  }
}

TEST_CASE("cosines: above the largest scale the scale stays there, without a gradient of its own") {
  using Layer = layer<cosine_spec<of_projection>, cpu>;
  auto config = of_sizes<Layer>();
  config.router.largest_scale = 4;
  layer_case<Layer> c(config, 9, 8), at_most(config, 9, 8);
  set_parameter(c.w, "router.log_scale", {30.0});
  set_parameter(at_most.w, "router.log_scale", {std::log(4.0) - 1e-9});
  c.forward(), c.backward(), at_most.forward(), at_most.backward();
  const named a = grads_of(c.w), b = grads_of(at_most.w);
  CHECK(a.at("router.log_scale")[0] == 0);
  CHECK(std::abs(b.at("router.log_scale")[0]) > 1e-6);
  CHECK(norm_ratio(a.at("router.projection"), b.at("router.projection")) < 1e-6);
  CHECK(norm_ratio(c.y.plane[0], at_most.y.plane[0]) < 1e-6);
  CHECK(check_gradients(c).worst < 1e-6);
}

TEST_CASE("cosines: a row of zeros has logits of 0 and the gradient of its length, 1e-3; so has an expert's") {
  using Layer = layer<cosine_spec<of_units>, cpu>;
  layer_case<Layer> c(of_sizes<Layer>(), 6, 9);
  std::vector<double> w = values_of(c.w).at("router.weight");
  for (std::size_t j = 5; j < 10; ++j) w[j] = 0;
  set_parameter(c.w, "router.weight", w);
  for (index j = 0; j < 5; ++j) c.x.put(2, j, 0);
  c.forward(), c.backward();
  for (index e = 0; e < 4; ++e) CHECK(c.w.saved().routing.logits.get(2, e) == 0);
  for (index t = 0; t < 6; ++t) CHECK(c.w.saved().routing.logits.get(t, 1) == 0);
  CHECK(c.stats().bad_rows == 0);
  CHECK((c.y.all_finite() && c.dx.all_finite()));
  for (const auto& [name, g] : grads_of(c.w))
    for (const double x : g) CHECK(std::isfinite(x));
  // Small steps: next to 0 the curvature is that of a length of 1e-3.
  const auto r = check_gradients(c, "router.", 1e-7);
  CHECK(r.worst < 1e-5);
}

TEST_CASE_TEMPLATE("cosines: a unit that is not finite is absent", Router, of_projection, of_units) {
  using Layer = layer<cosine_spec<Router>, cpu>;
  bad_unit_is_absent<Layer>(of_sizes<Layer>(), 10);
}

TEST_CASE_TEMPLATE("cosines: same bits for any number of threads", Layer, layer<cosine_spec<of_projection, float>, cpu>,
                   layer<cosine_spec<with_cosine<polymoe::mixture<score::gate_jitter<>>, false>, polymoe::bf16>, cpu>) {
  same_bits_everywhere<Layer>(of_sizes<Layer>(), 5000);
}
TEST_CASE("cosines: dual numbers carry the derivative") {
  using Dual = layer<cosine_spec<of_projection, polymoe::dual<double>>, cpu>;
  using Plain = layer<cosine_spec<of_projection>, cpu>;
  tangents_follow<Dual, Plain>(of_sizes<Dual>(), of_sizes<Plain>(), 13);
  using DualUnits = layer<cosine_spec<of_units, polymoe::dual<double>>, cpu>;
  using PlainUnits = layer<cosine_spec<of_units>, cpu>;
  tangents_follow<DualUnits, PlainUnits>(of_sizes<DualUnits>(), of_sizes<PlainUnits>(), 13);
}

TEST_CASE("cosines: parameters, first values, width, cost and what is said of them") {
  using Layer = layer<cosine_spec<with_bias<with_cosine<polymoe::top_k<2, score::noisy_learned<>>>>, float>, cpu>;
  Layer::config config;
  config.dim = 6, config.hidden = 4, config.experts = 5;
  polymoe::workspace<Layer> w(Layer(config), {.max_rows = 8});
  std::map<std::string, std::vector<index>> dims;
  index params = 0;
  for (const auto& e : w.entries()) {
    params += e.size;
    if (e.name.rfind("router.", 0) != 0) continue;
    dims[e.name] = e.dims;
    CHECK(e.decays == polymoe::decay::no);
    if (e.name == "router.log_scale") CHECK(w.values().ptr[0][e.offset] == doctest::Approx(std::log(2.0)));
  }
  // No width given: half of D.
  const std::map<std::string, std::vector<index>> want = {
      {"router.weight", {5, 3}},     {"router.noise_weight", {5, 6}}, {"router.noise_bias", {5}},
      {"router.projection", {3, 6}}, {"router.projection_bias", {3}}, {"router.log_scale", {1, 1}}};
  CHECK(dims == want);
  CHECK(Layer::count(config, 7).params == params);
  // Projection, cosines, and the second projection, which reads the unit itself.
  CHECK(Layer::count(config, 7).router_macs == 7 * (6 * 3 + 3 * 5 + 6 * 5));
  CHECK(w.module().describe().find("router cosine of a projection, ") != std::string::npos);
  config.dim = 2000;
  CHECK(polymoe::compared_columns(config.router, config.dim) == 256);
  config.router.cosine_dim = 300;
  CHECK(polymoe::compared_columns(config.router, config.dim) == 300);
  using PlainUnits = layer<cosine_spec<of_units>, cpu>;
  const auto of_plain = of_sizes<PlainUnits>();
  CHECK(PlainUnits(of_plain).describe().find("router cosine, ") != std::string::npos);
  CHECK(PlainUnits::count(of_plain, 7).router_macs == 7 * 5 * 4);
}

TEST_CASE("cosines: settings that make no sense are refused, and routers that compare nothing") {
  using Layer = layer<cosine_spec<of_projection>, cpu>;
  auto c = of_sizes<Layer>();
  c.router.cosine_dim = -1;
  CHECK_THROWS_WITH_AS(Layer{c}, doctest::Contains("cosine_dim is -1, it must lie in 0..65536"), polymoe::error);
  c = of_sizes<Layer>(), c.router.first_scale = 200;
  CHECK_THROWS_WITH_AS(Layer{c}, doctest::Contains("first_scale is 200 and largest_scale 100"), polymoe::error);
  c = of_sizes<Layer>(), c.router.first_scale = 0;
  CHECK_THROWS_AS(Layer{c}, polymoe::error);
  using polymoe::support, polymoe::verdict;
  CHECK(support<cosine_spec<with_cosine<polymoe::soft_slots<>>>, cpu>() == verdict::M034_linear_map_needed);
  CHECK(support<cosine_spec<with_bias<of_units>>, cpu>() == verdict::M034_linear_map_needed);
  CHECK(support<cosine_spec<with_cosine<with_bias<polymoe::top_k<1>>>>, cpu>() == verdict::ok);
}

}  // namespace moe_test
