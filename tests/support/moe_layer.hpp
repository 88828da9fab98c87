// A layer with inputs, outputs and an objective; its gradients against central differences; the dense expansion of its
// plan with naive experts.
#pragma once

#include <polymoe/plan/expand.hpp>
#include <polymoe/plan/invariants.hpp>

#include "moe_reference.hpp"

namespace moe_test {

template <class Layer>
struct layer_case {
  using T = typename Layer::scalar;
  polymoe::workspace<Layer> w;
  tensor<T> x, dy, y, dx;

  layer_case(typename Layer::config c, index rows, std::uint64_t seed, int threads = 1)
      : w(Layer(c), {.max_rows = rows, .threads = threads, .seed = seed}), x(rows, w.module().in_cols()),
        dy(rows, w.module().out_cols()), y(rows, w.module().out_cols()), dx(rows, w.module().in_cols()) {
    randomise_parameters(w, seed);
    x.randomise(seed + 1), dy.randomise(seed + 2);
  }
  void forward() { y.fill(not_a_number), w.forward(x.get(), y.get()); }
  void backward() { dx.fill(not_a_number), w.zero_grads(), w.backward(dy.get(), dx.get()); }
  /// The plan of the last forward; that of routers of slots is spelled out by each call.
  decltype(auto) plan() {
    using plan_type = decltype(w.module().plan(w.ctx(), w.saved()));
    if constexpr (std::is_base_of_v<polymoe::slot_layout, plan_type>)
      return w.module().plan(w.ctx(), w.saved());
    else
      return std::as_const(w.saved().routing.plan);
  }
  const polymoe::routing_stats& stats() { return w.saved().routing.stats; }
  /// <y, dy> plus the balance losses: what backward differentiates.
  double objective() {
    forward();
    double s = as_double(w.module().balance_loss(w.ctx(), w.saved()));
    for (index r = 0; r < y.rows; ++r)
      for (index c = 0; c < y.cols; ++c) s += y.at(r, c) * dy.at(r, c);
    return s;
  }
};

/// Fills every buffer that lives from forward to backward with 0xFF, as if the memory had been somebody else's.
template <class Case>
void poison_saved(Case& c) {
  const auto spoil = [](const auto& v) {
    using V = std::remove_cvref_t<decltype(v)>;
    if constexpr (!std::is_const_v<typename V::storage>)
      for (int i = 0; i < V::planes; ++i)
        if (v.ptr[i] && v.size() > 0)
          std::memset(v.ptr[i], 0xFF, static_cast<std::size_t>(v.size()) * sizeof(*v.ptr[i]));
  };
  auto& r = c.w.saved().routing;
  auto& a = c.w.saved().apply;
  for (const auto* v : {&r.logits, &r.raw, &r.scores, &r.partial, &r.totals, &r.cotangents, &r.values, &r.d_gate,
                        &r.d_skip, &r.plan.gate, &r.plan.skip, &r.d_logits, &r.d_raw, &r.pieces})
    spoil(*v);
  spoil(a.gathered), spoil(a.out);
  if constexpr (requires { a.expert.kept; })
    for (const auto& v : a.expert.kept) spoil(v);
  auto& p = r.plan;
  const auto units = static_cast<std::size_t>(r.max_units);
  if (p.token) std::memset(p.token, 0xFF, static_cast<std::size_t>(p.max_slots) * sizeof(int));
  int* const lists[] = {p.slot_of, p.expert_of, r.place.wish, r.place.position,
                        r.place.pending};  // nvcc drops a list here
  for (int* ints : lists)
    if (ints) std::memset(ints, 0xFF, units * static_cast<std::size_t>(p.k) * sizeof(int));
  if (r.place.order)
    std::memset(static_cast<void*>(r.place.order), 0xFF,
                units * static_cast<std::size_t>(p.k) * sizeof(*r.place.order));
  std::memset(p.begin, 0xFF, static_cast<std::size_t>(p.all_experts + 1) * sizeof(int));
  std::memset(p.bad, 0xFF, units);
}

struct gradient_report {
  int checked = 0, flipped = 0;
  double worst = 0;  ///< largest |difference| / max(|gradient|, 0.1)
};

/// Every input and every parameter (whose name begins with `prefix`) of a double layer; of tensors with more than
/// `most` numbers about `most`, spread over them.  Points where a decision of the plan changes between +h and -h are
/// left out and counted: there is no derivative there.
template <class Case>
gradient_report check_gradients(Case& c, const std::string& prefix = "", double h = 1e-5, index most = 1 << 30) {
  gradient_report r;
  c.forward();
  c.backward();
  const auto before = decisions(c.plan());
  const auto at = [&](double& place, double gradient, bool packed) {
    const double x = place;
    place = x + h;
    if (packed) c.w.refresh();
    const double up = c.objective();
    bool same = decisions(c.plan()) == before;
    place = x - h;
    if (packed) c.w.refresh();
    const double down = c.objective();
    same = same && decisions(c.plan()) == before;
    place = x;
    if (!same) {
      ++r.flipped;
      return;
    }
    const double error = std::abs((up - down) / (2 * h) - gradient) / std::max(std::abs(gradient), 0.1);
    ++r.checked;
    if (!(error <= r.worst)) r.worst = error;
  };
  const auto dx = c.dx.plane[0];
  for (std::size_t i = 0; i < dx.size(); ++i) at(c.x.plane[0][i], dx[i], false);
  for (const auto& e : c.w.entries()) {
    if (e.name.rfind(prefix, 0) != 0) continue;
    // An odd step meets every row and column of a kernel in turn.
    const index step = e.size > most ? (e.size / most) | 1 : 1;
    for (index i = e.offset % step; i < e.size; i += step)
      at(c.w.values().ptr[0][e.offset + i], c.w.grads().ptr[0][e.offset + i], true);
    c.w.refresh();
  }
  c.forward();
  REQUIRE(decisions(c.plan()) == before);
  REQUIRE(r.checked > r.flipped);
  return r;
}

/// y of the layer against combine * experts(dispatch * x) (+ skip * x), the experts being the reference's.
template <class Case>
double dense_expansion_error(Case& c, const reference& r) {
  const auto d = polymoe::expand(c.plan());
  const auto params = values_of(c.w);
  const int n = r.unit_rows;
  double worst = 0;
  for (int row = 0; row < n; ++row) {
    for (int t = 0; t < d.tokens; ++t) {
      std::vector<double> y(static_cast<std::size_t>(r.out), 0.0);
      const int g = t / d.group_size;
      for (index s = 0; s < d.dispatch.cols; ++s) {
        if (d.combine.get(t, s) == 0) continue;
        std::vector<double> in(static_cast<std::size_t>(r.dim), 0.0);
        for (int u = g * d.group_size; u < std::min(d.tokens, (g + 1) * d.group_size); ++u)
          for (int j = 0; j < r.dim; ++j)
            in[static_cast<std::size_t>(j)] += d.dispatch.get(u, s) * c.x.at(index{u} * n + row, j);
        const auto o = r.run_expert(params, static_cast<int>(s / d.capacity), in.data());
        for (std::size_t j = 0; j < y.size(); ++j) y[j] += d.combine.get(t, s) * o[j];
      }
      if (c.plan().skip.ptr[0])
        for (std::size_t j = 0; j < y.size(); ++j)
          y[j] += c.plan().skip.get(0, t) * c.x.at(index{t} * n + row, static_cast<index>(j));
      for (std::size_t j = 0; j < y.size(); ++j)
        worst = std::max(worst, std::abs(y[j] - c.y.at(index{t} * n + row, static_cast<index>(j))));
    }
  }
  return worst;
}

/// Largest |y - reference|; also compares who computes, the gates, and the measured drop rate.
template <class Case>
double reference_error(Case& c, reference r) {
  const auto& config = c.w.module().settings();
  r.dim = static_cast<int>(config.dim), r.hidden = static_cast<int>(config.hidden),
  r.experts = static_cast<int>(config.experts);
  r.out = static_cast<int>(c.w.module().out_cols()), r.unit_rows = static_cast<int>(config.unit_rows);
  r.group_size = static_cast<int>(config.group_size);
  r.inverse_temperature = static_cast<double>(1.0f / c.w.step().temperature);
  r.noise = c.w.ctx().training() ? static_cast<double>(c.w.step().noise) : 0;
  r.draw = c.w.ctx().draw(polymoe::stream_id("router.noise"));
  if (r.k > 0) r.capacity = c.plan().capacity;
  const auto want = r.forward(values_of(c.w), rows_of(c.x));
  CHECK(polymoe::plan_violation(c.plan()) == "");
  CHECK(c.stats().choices == want.choices);
  CHECK(c.stats().choices - c.stats().placed - c.stats().overflow == want.dropped);
  std::vector<index> served(static_cast<std::size_t>(r.experts), 0);
  for (const auto& of_unit : want.places.expert)
    for (const int e : of_unit)
      if (e >= 0) ++served[static_cast<std::size_t>(e)];
  for (int e = 0; r.k > 0 && e < r.experts; ++e) CHECK(c.stats().served[e] == served[static_cast<std::size_t>(e)]);
  const auto& p = c.plan();
  for (int t = 0; t < p.tokens; ++t)
    for (int j = 0; r.k > 0 && j < r.k; ++j)
      if (want.places.expert[t][j] >= 0) {
        CHECK(p.expert_of[t * r.k + j] == want.places.expert[t][j]);
        CHECK(as_double(p.gate.get(0, p.slot_of[t * r.k + j])) == doctest::Approx(want.weight[t][j]).epsilon(1e-9));
      }
  CHECK(dense_expansion_error(c, r) < 1e-11);
  double worst = 0;
  for (std::size_t t = 0; t < want.y.size(); ++t)
    for (std::size_t j = 0; j < want.y[t].size(); ++j)
      worst = std::max(worst, std::abs(want.y[t][j] - c.y.at(static_cast<index>(t), static_cast<index>(j))));
  return worst;
}

}  // namespace moe_test
