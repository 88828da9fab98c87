// Shared by the tests of routers that work on columns: logits and softmax by hand, gates against a plan's lists, bits
// for any number of threads, tangents of dual numbers.
#pragma once

#include "moe_layer.hpp"

namespace moe_test {

/// x W_r^T, from the layer's own numbers.
template <class Case>
matrix logits_of(Case& c) {
  const auto w = values_of(c.w).at("router.weight");
  const index D = c.x.cols, E = static_cast<index>(w.size()) / D;
  matrix z;
  for (index t = 0; t < c.x.rows; ++t) {
    z.emplace_back();
    for (index e = 0; e < E; ++e) {
      long double s = 0;
      for (index j = 0; j < D; ++j)
        s += static_cast<long double>(w[static_cast<std::size_t>(e * D + j)]) * c.x.at(t, j);
      z.back().push_back(static_cast<double>(s));
    }
  }
  return z;
}
/// [n, E] numbers in (-scale, scale).
inline matrix random_matrix(int n, int E, double scale, std::uint64_t seed) {
  matrix a(static_cast<std::size_t>(n), std::vector<double>(static_cast<std::size_t>(E)));
  for (int t = 0; t < n; ++t)
    for (int e = 0; e < E; ++e) a[t][e] = scale * noise(seed, static_cast<std::uint64_t>(t * E + e));
  return a;
}
inline matrix softmax_rows(matrix z) {
  for (auto& row : z) {
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (double& x : row) sum += x = std::exp(x - top);
    for (double& x : row) x /= sum;
  }
  return z;
}

/// The lists of the plan name the experts whose gate is a number, with that gate.
template <class Case>
void check_lists(Case& c, const matrix& gate) {
  const auto& p = c.plan();
  for (int t = 0; t < p.tokens; ++t) {
    std::size_t wanted = 0;
    for (const double g : gate[t]) wanted += !std::isnan(g);
    REQUIRE(p.choices(t) == static_cast<int>(wanted));
    polymoe::for_each_pick(p, t, [&](int, int slot, int e) {
      CHECK(p.token[slot] == t);
      CHECK(as_double(p.gate.get(0, slot)) == doctest::Approx(gate[t][e]).epsilon(1e-12));
    });
  }
}
/// Largest |y - sum of gate * expert| over all units.
template <class Case>
double gated_sum_error(Case& c, const reference& r, const matrix& gate) {
  const auto params = values_of(c.w);
  double worst = 0;
  for (index t = 0; t < c.y.rows; ++t) {
    std::vector<double> x, y(static_cast<std::size_t>(r.out), 0.0);
    for (index j = 0; j < c.x.cols; ++j) x.push_back(c.x.at(t, j));
    for (int e = 0; e < r.experts; ++e) {
      if (std::isnan(gate[t][e])) continue;
      const auto o = r.run_expert(params, e, x.data());
      for (std::size_t j = 0; j < y.size(); ++j) y[j] += gate[t][e] * o[j];
    }
    for (std::size_t j = 0; j < y.size(); ++j)
      worst = std::max(worst, std::abs(y[j] - c.y.at(t, static_cast<index>(j))));
  }
  return worst;
}

/// A unit that is not finite, with a gradient that is not: its output is NaN, its gradient zero, and everything else is
/// what it would be if the group were without the unit, the state that is learned from it included.  Groups of 8 and of
/// 7 units have to have the same capacity.
template <class Layer>
void bad_unit_is_absent(typename Layer::config config, std::uint64_t seed) {
  config.group_size = 8;
  layer_case<Layer> c(config, 8, seed);
  config.group_size = 7;
  layer_case<Layer> without(config, 7, seed);
  for (const double bad : {not_a_number, HUGE_VAL, -HUGE_VAL}) {
    for (index j = 0; j < c.x.cols; ++j) c.x.put(3, j, j == 1 ? bad : 1), c.dy.put(3, j, not_a_number);
    const auto row = [](index u) { return u < 3 ? u : u + 1; };
    for (index u = 0; u < 7; ++u)
      for (index j = 0; j < c.x.cols; ++j)
        without.x.put(u, j, c.x.at(row(u), j)), without.dy.put(u, j, c.dy.at(row(u), j));
    c.forward(), without.forward();
    c.backward(), without.backward();
    CHECK(polymoe::plan_violation(c.plan()) == "");
    if (Layer::spec::capacity::limited) REQUIRE(c.plan().capacity == without.plan().capacity);
    CHECK((c.stats().bad_rows == 1 && c.stats().placed == without.stats().placed && without.stats().placed > 0));
    std::vector<double> a, b;
    for (index j = 0; j < c.x.cols; ++j) {
      CHECK((std::isnan(c.y.at(3, j)) && c.dx.at(3, j) == 0));
      for (index u = 0; u < 7; ++u) {
        a.push_back(c.y.at(row(u), j)), b.push_back(without.y.at(u, j));
        a.push_back(c.dx.at(row(u), j)), b.push_back(without.dx.at(u, j));
      }
    }
    CHECK(norm_ratio(a, b) < 1e-12);
    const auto ga = grads_of(c.w), gb = grads_of(without.w);
    for (const auto& [name, g] : ga) CHECK_MESSAGE(norm_ratio(g, gb.at(name)) < 1e-12, name);
    CHECK(
        as_double(c.w.module().balance_loss(c.w.ctx(), c.w.saved())) ==
        doctest::Approx(as_double(without.w.module().balance_loss(without.w.ctx(), without.w.saved()))).epsilon(1e-12));
    const auto sa = c.w.state(), sb = without.w.state();
    REQUIRE(sa.size() == sb.size());
    for (std::size_t i = 0; i < sa.size(); ++i)
      CHECK(static_cast<double>(sa[i]) == doctest::Approx(static_cast<double>(sb[i])).epsilon(1e-6));
  }
}

/// Outputs and gradients with one, two and three threads, and after other calls, are the same bits.
template <class Layer>
void same_bits_everywhere(const typename Layer::config& config, index rows) {
  layer_case<Layer> one(config, rows, 21, 1);
  one.forward();
  one.backward();
  for (const int threads : {1, 2, 3}) {
    layer_case<Layer> c(config, rows, 21, threads);
    c.x.randomise(99);
    c.forward(), c.backward();
    c.x.randomise(22);
    c.forward(), c.backward();
    CHECK(c.y.same_bits(one.y));
    CHECK(c.dx.same_bits(one.dx));
    CHECK(grads_of(c.w) == grads_of(one.w));
    CHECK(c.y.all_finite());
  }
}

/// A dual layer whose input moves along a direction: tangents of outputs and gradients against differences.
template <class Dual, class Plain>
void tangents_follow(const typename Dual::config& dual_config, const typename Plain::config& config, index rows) {
  layer_case<Dual> d(dual_config, rows, 31);
  layer_case<Plain> p(config, rows, 31);
  for (std::size_t i = 0; i < d.x.plane[1].size(); ++i) d.x.plane[1][i] = noise(77, i);
  d.forward(), d.backward();
  const double h = 1e-6;
  const auto run = [&](double step) {
    for (std::size_t i = 0; i < p.x.plane[0].size(); ++i) p.x.plane[0][i] = d.x.plane[0][i] + step * noise(77, i);
    p.forward(), p.backward();
    std::vector<double> all = p.y.plane[0];
    all.insert(all.end(), p.dx.plane[0].begin(), p.dx.plane[0].end());
    for (const auto& [name, g] : grads_of(p.w)) all.insert(all.end(), g.begin(), g.end());
    return all;
  };
  const auto up = run(h), down = run(-h), middle = run(0);
  std::vector<double> tangent = d.y.plane[1], value = d.y.plane[0];
  tangent.insert(tangent.end(), d.dx.plane[1].begin(), d.dx.plane[1].end());
  value.insert(value.end(), d.dx.plane[0].begin(), d.dx.plane[0].end());
  named grads, grad_tangents;
  for (const auto& e : d.w.entries())
    for (index i = 0; i < e.size; ++i) {
      grads[e.name].push_back(d.w.grads().ptr[0][e.offset + i]);
      grad_tangents[e.name].push_back(d.w.grads().ptr[1][e.offset + i]);
    }
  for (const auto& [name, g] : grads) value.insert(value.end(), g.begin(), g.end());
  for (const auto& [name, g] : grad_tangents) tangent.insert(tangent.end(), g.begin(), g.end());
  std::vector<double> slope;
  for (std::size_t i = 0; i < up.size(); ++i) slope.push_back((up[i] - down[i]) / (2 * h));
  CHECK(norm_ratio(value, middle) < 1e-12);
  CHECK(norm_ratio(tangent, slope) < 1e-6);
}

}  // namespace moe_test
