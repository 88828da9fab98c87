// Dual numbers through a whole layer: the tangent of the gradients is an exact Hessian-vector product.
// with: tokens
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
using polymoe::cpu;
using polymoe::dual;
using polymoe::layer;

template <class T>
struct noisy : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_learned<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::identity>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load_shazeer,
                                        polymoe::balance::switch_loss, polymoe::balance::z_loss>;
};
struct mixed : polymoe::spec {
  using scalar = dual<double>;
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::gated_mlp<>;
  using balance = polymoe::balance::sum<polymoe::balance::kl_from_uniform, polymoe::balance::kl_to_uniform>;
};
using mixed_layer = layer<mixed, cpu>;
template <class T>
using noisy_layer = layer<noisy<T>, cpu>;

template <class T>
struct hessian_case : layer_case<noisy_layer<T>> {
  static auto config() {
    typename noisy_layer<T>::config c;
    c.dim = 4, c.hidden = 3, c.experts = 4, c.group_size = 11;
    c.capacity.factor = 0.8f;
    c.balance.template get<balance::importance>().weight = 8,
                       c.balance.template get<balance::load_shazeer>().weight = 6;
    c.balance.template get<balance::switch_loss>().weight = 2, c.balance.template get<balance::z_loss>().weight = 1;
    return c;
  }
  explicit hessian_case(std::uint64_t seed) : layer_case<noisy_layer<T>>(config(), 19, seed) {
    this->w.step().temperature = 1.5f;
  }
};

/// Inputs first, then parameters, as one vector.
template <class Case>
std::vector<double> gradient(Case& c, int plane) {
  c.forward();
  c.backward();
  std::vector<double> g = c.dx.plane[plane];
  g.insert(g.end(), c.w.grads().ptr[plane], c.w.grads().ptr[plane] + c.w.grads().cols);
  return g;
}
template <class Case>
std::vector<double> direction(Case& c, std::uint64_t seed) {
  std::vector<double> v(c.x.plane[0].size() + static_cast<std::size_t>(c.w.values().cols), 0.0);
  for (std::size_t i = 0; i < c.x.plane[0].size(); ++i) v[i] = noise(seed, i);
  for (const auto& e : c.w.entries())  // padding between tensors stays zero
    for (index i = 0; i < e.size; ++i) {
      const auto at = c.x.plane[0].size() + static_cast<std::size_t>(e.offset + i);
      v[at] = noise(seed, at);
    }
  return v;
}
template <class Case>
std::vector<double> hessian_times(Case& c, const std::vector<double>& v) {
  const std::size_t n = c.x.plane[0].size();
  for (std::size_t i = 0; i < n; ++i) c.x.plane[1][i] = v[i];
  for (index i = 0; i < c.w.values().cols; ++i) c.w.values().ptr[1][i] = v[n + static_cast<std::size_t>(i)];
  c.w.refresh();
  return gradient(c, 1);
}
double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double s = 0;
  for (std::size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s;
}

/// Gives both cases the same numbers: parameters, inputs, output gradients and a direction, all of which float has.
template <class A, class B>
void same_numbers(A& a, B& b, std::uint64_t seed) {
  const auto copy = [](auto& from, auto& to) {
    for (std::size_t i = 0; i < from.size(); ++i) to[i] = static_cast<double>(from[i]);
  };
  for (int plane = 0; plane < 2; ++plane) {
    if (plane == 1)
      for (std::size_t i = 0; i < a.x.plane[1].size(); ++i)
        a.x.plane[1][i] = static_cast<float>(noise(seed, i)), a.dy.plane[1][i] = static_cast<float>(noise(seed + 1, i));
    copy(a.x.plane[plane], b.x.plane[plane]), copy(a.dy.plane[plane], b.dy.plane[plane]);
  }
  for (const auto& e : a.w.entries())
    for (index i = 0; i < e.size; ++i) {
      auto &v = a.w.values().ptr[0][e.offset + i], &t = a.w.values().ptr[1][e.offset + i];
      t = static_cast<float>(noise(seed ^ polymoe::stream_id(e.name), static_cast<std::uint64_t>(i)));
      b.w.values().ptr[0][e.offset + i] = static_cast<double>(v);
      b.w.values().ptr[1][e.offset + i] = static_cast<double>(t);
    }
  a.w.refresh(), b.w.refresh();
}
/// Value and tangent plane of everything a call gives, by name.
template <class Case>
named both_planes(Case& c) {
  c.forward(), c.backward();
  named out;
  for (int plane = 0; plane < 2; ++plane) {
    const std::string of = plane ? " tangent" : " value";
    for (const auto& e : c.w.entries())
      for (index i = 0; i < e.size; ++i)
        out[e.name + of].push_back(static_cast<double>(c.w.grads().ptr[plane][e.offset + i]));
    for (const auto x : c.y.plane[plane]) out["y" + of].push_back(static_cast<double>(x));
    for (const auto x : c.dx.plane[plane]) out["dx" + of].push_back(static_cast<double>(x));
    const auto loss = c.w.module().balance_loss(c.w.ctx(), c.w.saved());
    out["balance loss" + of].push_back(static_cast<double>(plane ? loss.t : loss.v));
  }
  return out;
}

}  // namespace

// A rounding of float is off by at most u = 2^-24 of its result, and a second-order quantity is a sum of terms that
// each went through some tens of them, on the way forward and back.  Independent roundings add up like their squares:
// about sqrt(60) u.  Where terms cancel what is left is smaller than they were: 32 u leaves room for a factor of 4.
TEST_CASE("dual<float> through a whole layer: every value and tangent against dual<double>") {
  for (const std::uint64_t seed : {71u, 72u, 73u}) {
    hessian_case<dual<float>> low(seed);
    hessian_case<dual<double>> high(seed);
    same_numbers(low, high, seed);
    const auto got = both_planes(low), want = both_planes(high);
    REQUIRE(high.stats().overflow > 0);
    REQUIRE(decisions(low.plan()) == decisions(high.plan()));
    for (const auto& [name, v] : want) {
      const double error = norm_ratio(got.at(name), v);
      CHECK_MESSAGE(error < 32 * 0x1p-24, name, ": ", error);
      double size = 0;
      for (const double n : v) size += n * n;
      CHECK_MESSAGE(size > 0, name);
    }
  }
}

/// The input and the parameters of a case, and steps from there along a direction (input first).
struct point {
  std::vector<double> x, values;
  explicit point(hessian_case<double>& c)
      : x(c.x.plane[0]), values(c.w.values().ptr[0], c.w.values().ptr[0] + c.w.values().cols) {}
  void move(hessian_case<double>& c, const std::vector<double>& direction, double step) const {
    for (std::size_t i = 0; i < x.size(); ++i) c.x.plane[0][i] = x[i] + step * direction[i];
    for (std::size_t i = 0; i < values.size(); ++i) c.w.values().ptr[0][i] = values[i] + step * direction[x.size() + i];
    c.w.refresh();
  }
};

TEST_CASE("the tangent of the output and of the balance losses equals their central differences") {
  for (const std::uint64_t seed : {71u, 72u, 73u}) {
    hessian_case<double> plain(seed);
    hessian_case<dual<double>> tangent(seed);
    const auto v = direction(plain, seed);
    hessian_times(tangent, v);
    plain.forward();
    REQUIRE(plain.stats().overflow > 0);
    const auto before = decisions(plain.plan());
    const point start(plain);
    const double h = 1e-6;
    const auto at = [&](double step) {
      start.move(plain, v, step);
      plain.forward();
      REQUIRE(decisions(plain.plan()) == before);
      auto out = plain.y.plane[0];
      out.push_back(plain.w.module().balance_loss(plain.w.ctx(), plain.w.saved()));
      return out;
    };
    auto difference = at(h);
    const auto down = at(-h);
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] = (difference[i] - down[i]) / (2 * h);
    auto jvp = tangent.y.plane[1];
    jvp.push_back(tangent.w.module().balance_loss(tangent.w.ctx(), tangent.w.saved()).t);
    CHECK(std::abs(jvp.back()) > 1e-3);
    CHECK(jvp.back() == doctest::Approx(difference.back()).epsilon(1e-6));
    CHECK(norm_ratio(difference, jvp) < 1e-7);
  }
}

TEST_CASE("the tangent of the gradients equals central differences of the gradients") {
  for (const std::uint64_t seed : {71u, 72u, 73u}) {
    hessian_case<double> plain(seed);
    hessian_case<dual<double>> tangent(seed);
    const auto v = direction(plain, seed);
    const auto hv = hessian_times(tangent, v);
    const auto g = gradient(plain, 0);
    CHECK(plain.stats().overflow > 0);
    CHECK(norm_ratio(gradient(tangent, 0), g) < 1e-13);  // the value plane is the plain layer
    const auto before = decisions(plain.plan());
    CHECK(decisions(tangent.plan()) == before);
    const point start(plain);
    const double h = 1e-6;
    const auto at = [&](double step) {
      start.move(plain, v, step);
      auto out = gradient(plain, 0);
      REQUIRE(decisions(plain.plan()) == before);  // no routing flips along this direction
      return out;
    };
    auto difference = at(h);
    const auto down = at(-h);
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] = (difference[i] - down[i]) / (2 * h);
    CHECK(norm_ratio(difference, hv) < 1e-6);
  }
}

TEST_CASE("the Hessian is symmetric: u'Hv = v'Hu, balance losses and noise included") {
  hessian_case<dual<double>> c(74);
  const auto u = direction(c, 1), v = direction(c, 2);
  const double a = dot(u, hessian_times(c, v)), b = dot(v, hessian_times(c, u));
  CHECK(std::abs(a) > 0.1);
  CHECK(std::abs(a - b) < 1e-10 * std::abs(a));
}

TEST_CASE("the Hessian of a mixture of gated experts with KL losses is symmetric") {
  mixed_layer::config config;
  config.dim = 4, config.hidden = 3, config.experts = 5;
  config.balance.get<balance::kl_from_uniform>().weight = 20, config.balance.get<balance::kl_to_uniform>().weight = 10;
  layer_case<mixed_layer> c(config, 13, 76);
  const auto u = direction(c, 5), v = direction(c, 6);
  const double a = dot(u, hessian_times(c, v)), b = dot(v, hessian_times(c, u));
  CHECK(std::abs(a) > 0.1);
  CHECK(std::abs(a - b) < 1e-10 * std::abs(a));
}

TEST_CASE("at the start, where the noise projection is zero, the Hessian is right too") {
  hessian_case<dual<double>> c(75);
  set_parameter(c.w, "router.noise_weight", std::vector<double>(16, 0.0));
  const auto u = direction(c, 3), v = direction(c, 4);
  const double a = dot(u, hessian_times(c, v)), b = dot(v, hessian_times(c, u));
  CHECK(std::abs(a - b) < 1e-10 * std::abs(a));
}

}  // namespace moe_test
