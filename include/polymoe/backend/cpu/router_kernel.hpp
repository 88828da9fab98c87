// The router of the CPU backend: what makes logits (linear_logits.hpp, cosine_logits.hpp) around the row loops of
// route.hpp.
#pragma once

#include "cosine_logits.hpp"
#include "route.hpp"

namespace polymoe::inline v0 {
namespace backend {

template <class Spec, class Maths>
class router_kernel<Spec, cpu_with<Maths>> {
 public:
  using traits = routing_traits<Spec, cpu_with<Maths>>;
  using T = typename traits::T;
  using C = typename traits::C;
  using M = master_t<T>;
  using Router = typename traits::Router;
  using Balance = typename traits::Balance;
  using config = routing_config<Spec>;
  using parameters = routing_parameters<M>;
  using linear = linear_logits<Router, T, Maths>;
  using logits_type = std::conditional_t<traits::cosine, cosine_logits<Router, T, Maths>, linear>;
  /// The library of dense products, for describe().
  static const char* products() { return logits_type::products(); }
  static constexpr bool learned_noise = traits::learned_noise;

  struct memory : route_memory<C> {
    view<C> pieces;       ///< partial weight gradients, one row per row range
    input_noise factors;  ///< on the router's view of its input, in this call
    typename logits_type::memory kept_of_logits;
  };

  router_kernel() = default;
  explicit router_kernel(const config& g) : experts_(g.experts), logits_(g.router, g.dim, g.experts) {
    if constexpr (learned_noise) raw_ = linear(g.router, g.dim, g.experts, true);
  }

  template <class V>
  void visit(V& v) {
    logits_.visit(v);
    if constexpr (learned_noise) raw_.visit(v);
  }
  void bind(binder<cpu_with<Maths>>& b, memory& s, index max_units, [[maybe_unused]] const config& g) const {
    const index choices = max_units * traits::held, columns = Balance::columns;
    // One routed call has at most as many tiles as units, and one more per group.
    const index tiles = s.plan.groups * ceil_div(s.plan.group_size, polymoe::detail::route_tile);
    if constexpr (traits::recipe.by_unit()) {
      s.place.wish = b.saved.template take_raw<int>(choices);
      s.place.position = b.saved.template take_raw<int>(choices);
      s.place.order = b.saved.template take_raw<priority_key>(choices);
      s.place.pending = b.saved.template take_raw<int>(choices);
      s.place.proposed = b.saved.template take_raw<int>(choices * Spec::capacity::overflow_policy::rounds);
    }
    if constexpr (traits::recipe.group_plan) {
      s.affinity = b.saved.template take<C>(max_units, experts_);
      if constexpr (weighs_plan<Router>) s.d_affinity = b.saved.template take<C>(max_units, experts_);
      s.kept = b.saved.template take<C>(s.plan.groups, g.router.kept(s.plan.group_size, experts_));
      s.kept_steps = b.saved.template take_raw<int>(s.plan.groups);
      if constexpr (carries_prices<Router>) s.found = b.saved.template take_raw<float>(s.plan.groups * experts_);
    }
    s.partial = b.saved.template take<C>(tiles, columns * experts_);
    s.work = b.saved.template take_raw<C>(2 * columns * experts_);
    s.tile_stats = b.saved.template take_raw<double>(tiles * (experts_ + 2));
    index of_pieces = logits_.piece_columns();
    logits_.bind(b, s.kept_of_logits, max_units);
    if constexpr (learned_noise) {
      of_pieces = std::max(of_pieces, raw_.piece_columns());
      raw_.bind(b, {}, max_units);
    }
    s.pieces = b.saved.template take<C>(linear::product_type::pieces(max_units), of_pieces);
  }
  void refresh(context<cpu_with<Maths>>& c, const parameters& p) {
    logits_.refresh(c, p);
    if constexpr (learned_noise) raw_.refresh(c, p);
  }

  void forward(context<cpu_with<Maths>>& c, const config& g, const parameters& p, view<const T> r, memory& s) const {
    const step_state step = c.step ? *c.step : step_state{};
    if (Balance::needs_target && s.target && c.training())
      for (index t = 0; t < r.rows; ++t)
        require(s.target[t] >= -1 && s.target[t] < experts_, "routing: unit ", t, " is wanted by expert ", s.target[t],
                ", there are ", experts_, " (-1: none)");
    s.route.inverse_temperature = inverse_temperature_of(step);
    s.route.noise = c.training() ? step.noise : 0.0f;
    s.route.draw = c.draw(p.noise_stream);
    s.route.bias = Balance::has_bias ? p.bias : nullptr;
    s.training = c.training();
    s.balanced = c.training() && r.rows > 0;
    s.balance_scale = step.balance;
    if constexpr (perturbs_input<Router>)
      s.factors = {input_shares_of(g.router), s.route.noise, c.draw(p.jitter_stream), c.draw(p.dropout_stream)};
    logits_.forward(c, g.router, p, r, s.factors, s.logits, s.kept_of_logits);
    if constexpr (learned_noise) raw_.forward(c, g.router, p, r, s.factors, s.raw, {});
    if constexpr (Balance::adapts) {
      Balance balance = g.balance;
      balance.adaptive().coefficient = *p.coefficient;
      route_rows(c.stream, g.router, balance, s);
    } else {
      route_rows(c.stream, g.router, g.balance, s);
    }
    if constexpr (traits::recipe.group_plan) {
      require(g.router.kept(s.plan.group_size, experts_) <= s.kept.cols, "routing: the plan of a group keeps ",
              g.router.kept(s.plan.group_size, experts_), " numbers, memory was bound for ", s.kept.cols);
      if constexpr (carries_prices<Router>) s.start = p.price;
      plan_all_groups(c.stream, g.router, s);
      if constexpr (carries_prices<Router>)
        if (c.training()) add_prices(p, s);
    }
    if constexpr (traits::recipe.by_unit()) {
      s.place.draw = s.route.draw, s.place.training = s.training;
      place<typename Spec::capacity>(c.stream, s.plan, selection_scores<Router>(s), s.place);
    } else if constexpr (learns_thresholds<Router>) {
      s.threshold = s.training ? nullptr : p.threshold;
      if (s.training) {
        pick(c.stream, s.plan, s.scores);
        compare_thresholds(p, s);
      } else {
        pick<true>(c.stream, s.plan, s.scores, p.threshold);
      }
    } else if constexpr (traits::picked) {
      pick<picks_positive<Router>>(c.stream, s.plan, selection_scores<Router>(s));
    } else {
      for (int e = 0; e <= s.plan.all_experts; ++e) s.plan.begin[e] = e * s.plan.tokens;
    }
    route_statistics<Router, typename Spec::capacity>(s);
    route_weights<Router>(c.stream, g.combine, s);
    if constexpr (Balance::adapts)
      if (c.training() && s.stats.units > s.stats.bad_rows) {
        const index scores = (s.stats.units - s.stats.bad_rows) * experts_;
        p.active[0] += static_cast<float>(static_cast<double>(s.stats.choices) / static_cast<double>(scores));
        p.active[1] += 1;
      }
    if constexpr (Balance::has_bias)
      if (c.training())
        for (index e = 0; e < experts_; ++e) p.load[e] += static_cast<float>(s.stats.wished[e]);
  }
  void clear(context<cpu_with<Maths>>& c, view<C> v, index n) const { clear_numbers(c, v, n); }
  void backward(context<cpu_with<Maths>>& c, const config& g, const parameters& p, view<const T> r, view<T> dr,
                memory& s, bool accumulate) const {
    if constexpr (weighs_plan<Router>) plan_all_groups_backward<Router>(c.stream, g.router, g.combine, s);
    route_rows_backward(c.stream, g.router, g.balance, g.combine, s, s.d_logits, s.d_raw);
    logits_gradient<C> d{s.plan.tokens, *s.plan.bad_count > 0 ? s.plan.bad : nullptr, s.logits, s.d_logits, s.pieces};
    logits_.backward(c, g.router, p, r, s.factors, d, dr, accumulate, s.kept_of_logits);
    d.z = s.raw, d.d = s.d_raw;
    if constexpr (learned_noise) raw_.backward(c, g.router, p, r, s.factors, d, dr, true, {});
  }
  void commit(context<cpu_with<Maths>>& c, const parameters& p, float rate) const {
    const float by = c.halted && *c.halted ? 0.0f : rate;
    // Loads are whole numbers: E * load is compared with their sum, so that equal loads leave the bias alone.
    double sum = 0;
    for (index e = 0; e < experts_; ++e) sum += static_cast<double>(p.load[e]);
    for (index e = 0; e < experts_; ++e) {
      const double load = static_cast<double>(p.load[e]) * static_cast<double>(experts_);
      p.bias[e] += load < sum ? by : (load > sum ? -by : 0.0f);
      p.load[e] = 0;
    }
  }

  void move_thresholds(context<cpu_with<Maths>>& c, const parameters& p, float rate) const {
    const float calls = c.halted && *c.halted ? 0.0f : p.threshold_gap[experts_];
    for (index e = 0; e < experts_ && calls > 0; ++e) p.threshold[e] += rate * p.threshold_gap[e] / calls;
    for (index e = 0; e <= experts_; ++e) p.threshold_gap[e] = 0;
  }
  void adapt(context<cpu_with<Maths>>& c, const parameters& p, const config& g) const {
    if (p.active[1] > 0 && !(c.halted && *c.halted)) {
      const double share = static_cast<double>(p.active[0]) / static_cast<double>(p.active[1]);
      *p.coefficient = g.balance.adaptive().adapted(*p.coefficient, share, static_cast<int>(experts_));
    }
    p.active[0] = p.active[1] = 0;
  }

  /// The prices of the next step are the mean over the groups of this one; a step without training calls keeps them.
  void commit_prices(context<cpu_with<Maths>>& c, const parameters& p) const {
    const float groups = c.halted && *c.halted ? 0.0f : p.price_sum[experts_];
    for (index e = 0; e < experts_ && groups > 0; ++e) p.price[e] = p.price_sum[e] / groups;
    std::fill_n(p.price_sum, experts_ + 1, 0.0f);
  }

  routing_stats stats(context<cpu_with<Maths>>&, const memory& s) const { return s.stats; }
  view<C> values(context<cpu_with<Maths>>&, const memory& s) const { return s.values; }
  sparse_plan<C> plan(context<cpu_with<Maths>>&, const memory& s) const { return s.plan; }
  plan_record<C> plans(context<cpu_with<Maths>>&, const config&, const parameters&, const memory& s) const {
    plan_record<C> r = sizes_of_plans<Router>(s.plan);
    r.scores = s.scores.rows_at(0, s.plan.tokens), r.plan = s.affinity.rows_at(0, s.plan.tokens);
    r.kept = s.kept.rows_at(0, s.plan.groups), r.steps = s.kept_steps, r.bad = s.plan.bad;
    return r;
  }

 private:
  /// Adds how far the units above each threshold are from those picked, as shares of the finite units.
  void compare_thresholds(const parameters& p, const memory& s) const {
    index finite = 0;
    for (index t = 0; t < s.plan.tokens; ++t) finite += !s.plan.bad[t];
    if (finite == 0) return;
    for (index e = 0; e < experts_; ++e) {
      index gap = 0;
      for (index g = 0; g < s.plan.groups; ++g) gap -= s.plan.count[e * s.plan.groups + g];
      for (index t = 0; t < s.plan.tokens; ++t) gap += !s.plan.bad[t] && is_above(s.scores, t, e, p.threshold);
      p.threshold_gap[e] += static_cast<float>(static_cast<double>(gap) / static_cast<double>(finite));
    }
    p.threshold_gap[experts_] += 1;
  }
  /// Groups in order, so that the sums have the same bits for any number of threads.  Groups of bad units alone leave
  /// NaN.
  void add_prices(const parameters& p, const memory& s) const {
    for (index g = 0; g < s.plan.groups; ++g) {
      const float* const found = s.found + g * experts_;
      if (!math::is_finite(found[0])) continue;
      for (index e = 0; e < experts_; ++e) p.price_sum[e] += found[e];
      p.price_sum[experts_] += 1;
    }
  }

  index experts_ = 0;
  logits_type logits_;
  linear raw_;  ///< the second projection, with learned noise only
};

}  // namespace backend
}  // namespace polymoe
