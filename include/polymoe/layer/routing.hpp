// routing<Spec, Backend>: the first half of a layer, from router input to plan.
//
//   forward   r [T, D_r] -> plan, balance losses, statistics
//   backward  d_gate summed over all users of the plan (plus balance gradients, once) -> d_r, router gradients
//
// A router shared by several layers is one routing with several applies: call open_backward once, let every apply add
// to d_gate, then call backward once.  Sizes, memory and checks are here; a backend's router_kernel computes.
#pragma once

#include "../backend/cpu/router_kernel.hpp"
#include "../core/cost.hpp"

namespace polymoe::inline v0 {

/// Router input [T, D_r] -> plan, as the top of this file has it.  Parameters: weight [E, D_r] ([E, P] of cosines) and
/// what the router's policies add; the caller owns all memory.
template <class Spec, class Backend>
class routing : public routing_traits<Spec, Backend> {
 public:
  using scalar = typename Spec::scalar;
  using backend = Backend;
  using T = scalar;
  using C = compute_t<T>;
  using M = master_t<T>;
  using Router = typename Spec::router;
  using Capacity = typename Spec::capacity;
  using Balance = balance::as_sum<typename Spec::balance>;
  using Kernel = polymoe::backend::router_kernel<Spec, Backend>;
  using config = routing_config<Spec>;
  using traits = routing_traits<Spec, Backend>;
  using traits::all_experts, traits::picked, traits::learned_noise, traits::has_fallback, traits::recipe;

  struct saved : Kernel::memory {
    view<const T> input;  ///< the caller keeps the router input alive until backward
    index max_units = 0;
  };

  explicit routing(config c) : config_(checked(c)), kernel_(c) {}

  const config& settings() const { return config_; }
  config& settings() { return config_; }
  index in_cols() const { return config_.dim; }
  /// Slots of a group known when the layer is made: of dense plans only.
  index group_slots() const { return 0; }
  int plan_experts() const { return static_cast<int>(config_.experts) + (has_fallback ? 1 : 0); }

  template <class V>
  void visit(V& v) {
    const index E = config_.experts, D = config_.dim, P = compared_columns(config_.router, D);
    const auto rows_of = [](index cols) { return init_rule::normal(1.0 / std::sqrt(static_cast<double>(cols))); };
    init_rule first = rows_of(P);
    if constexpr (starts_orthogonal<Router>) first = init_rule::orthogonal(config_.router.first_gain);
    v.add(own_.weight, "weight", {E, P}, first, decay::no);
    if constexpr (learned_noise) v.add(own_.noise_weight, "noise_weight", {E, D}, init_rule::zeros(), decay::no);
    if constexpr (traits::biased) v.add(own_.weight_bias, "bias", {E}, init_rule::zeros(), decay::no);
    if constexpr (traits::biased_noise) v.add(own_.noise_bias, "noise_bias", {E}, init_rule::zeros(), decay::no);
    if constexpr (traits::projected) v.add(own_.projection, "projection", {P, D}, rows_of(D), decay::no);
    if constexpr (traits::biased_projection)
      v.add(own_.projection_bias, "projection_bias", {P}, init_rule::zeros(), decay::no);
    if constexpr (traits::cosine)
      v.add(own_.log_scale, "log_scale", {1, 1},
            init_rule::constant(std::log(static_cast<double>(config_.router.first_scale))), decay::no);
    if constexpr (Balance::has_bias) {
      v.add_state(own_.bias, "bias", E, 0.0f);
      v.add_state(own_.load, "load", E, 0.0f);
    }
    if constexpr (Balance::adapts) {
      v.add_state(own_.coefficient, "coefficient", 1, config_.balance.adaptive().first);
      v.add_state(own_.active, "active", 2, 0.0f);
    }
    if constexpr (learns_thresholds<Router>) {
      v.add_state(own_.threshold, "threshold", E, config_.router.first_threshold);
      v.add_state(own_.threshold_gap, "threshold_gap", E + 1, 0.0f);
    }
    if constexpr (carries_prices<Router>) {
      v.add_state(own_.price, "price", E, 0.0f);
      v.add_state(own_.price_sum, "price_sum", E + 1, 0.0f);
    }
    kernel_.visit(v);
    v.add_stream(own_.noise_stream, "noise");
    if constexpr (jitters_input<Router>) v.add_stream(own_.jitter_stream, "jitter");
    if constexpr (drops_input<Router>) v.add_stream(own_.dropout_stream, "input_dropout");
  }

  /// Slots the largest call can need.
  index max_slots(index units) const {
    if (units == 0) return 0;
    const index E = config_.experts, group = group_of(units), G = ceil_div(units, group);
    if constexpr (all_experts) return checked_mul(E, units, "routing: slots");
    if constexpr (picked) {
      const index most = capacity_bound(group);
      return checked_mul(E * G, config_.padded ? most : std::min(most, group), "routing: slots");
    }
    const index choices = checked_mul(units, Router::k, "routing: slots"), extra = has_fallback ? units : 0;
    if (!config_.padded) return choices + extra;
    return checked_mul(E * G, capacity_bound(group), "routing: slots") + (has_fallback ? G * group : 0);
  }

  saved bind(binder<Backend>& b, index max_units) const {
    saved s;
    const index E = config_.experts, E1 = plan_experts(), K = traits::held;
    const index slots = max_slots(max_units);
    require(checked_mul(max_units, K, "routing") < (index{1} << 31) && slots < (index{1} << 31) &&
                max_units * E < (index{1} << 40),
            "routing: ", max_units, " units with ", slots, " slots exceed the 32-bit ids of a plan (2147483647)");
    const index group = group_of(max_units);
    // A call may have fewer units than the largest one, so the number of groups is bounded by both.
    const index G = config_.group_size ? ceil_div(max_units, group) : 1;
    require(E1 * G < (index{1} << 31), "routing: ", E1, " experts in ", G, " groups are ", E1 * G,
            " runs, which exceeds the 32-bit ids of a plan (2147483647)");
    s.max_units = max_units;
    sparse_plan<C>& p = s.plan;
    p.layout = recipe.in_layout(config_.padded).layout();
    p.tokens = static_cast<int>(max_units), p.groups = static_cast<int>(G), p.group_size = static_cast<int>(group);
    p.experts = static_cast<int>(E), p.all_experts = static_cast<int>(E1);
    p.k = static_cast<int>(all_experts ? E : picked ? 0 : K), p.max_slots = static_cast<int>(slots);
    p.begin = b.saved.template take_raw<int>(E1 + 1);
    p.count = b.saved.template take_raw<int>(E1 * G);
    p.run_begin = b.saved.template take_raw<int>(E1 * G);
    if (picked) {
      p.token = b.saved.template take_raw<int>(slots);
      p.slots_begin = b.saved.template take_raw<int>(max_units + 1);
      p.slot_of = b.saved.template take_raw<int>(slots);
    } else if (!all_experts) {
      p.token = b.saved.template take_raw<int>(slots);
      p.slot_of = b.saved.template take_raw<int>(max_units * K);
      p.expert_of = b.saved.template take_raw<int>(max_units * K);
    }
    if (has_fallback) p.fallback_slot = b.saved.template take_raw<int>(max_units);
    p.gate = b.saved.template take<C>(1, slots);
    s.d_gate = b.saved.template take<C>(1, slots);
    if (recipe.skip) p.skip = b.saved.template take<C>(1, max_units), s.d_skip = b.saved.template take<C>(1, max_units);
    p.bad = b.saved.template take_raw<unsigned char>(max_units);
    p.bad_count = b.saved.template take_raw<int>(1);
    s.logits = b.saved.template take<C>(max_units, E);
    if (learned_noise) s.raw = b.saved.template take<C>(max_units, E);
    s.scores = b.saved.template take<C>(max_units, E);
    if (recipe.noisy) s.noisy = b.saved.template take<C>(max_units, E);
    constexpr index columns = Balance::columns;
    s.totals = b.saved.template take<C>(G, columns * E);
    s.cotangents = b.saved.template take<C>(G, columns * E);
    s.values = b.saved.template take<C>(1, recipe.balance_terms + 1);
    s.stats.gate_mass = b.saved.template take_raw<double>(E);
    s.stats.wished = b.saved.template take_raw<index>(E);
    s.stats.served = b.saved.template take_raw<index>(E);
    s.d_logits = b.saved.template take<C>(max_units, E);
    if (learned_noise) s.d_raw = b.saved.template take<C>(max_units, E);
    kernel_.bind(b, s, max_units, config_);
    return s;
  }

  void refresh(context<Backend>& c) { kernel_.refresh(c, own_); }

  /// r [T, D_r]; afterwards s.plan describes the call.
  void forward(context<Backend>& c, view<const T> r, saved& s) const {
    require(r.cols == config_.dim, "routing: input is ", shape_text(r), ", the router was built for dim ", config_.dim);
    require(r.rows <= s.max_units, "routing: ", r.rows, " units, memory was bound for ", s.max_units);
    if (c.keep_plans) {
      require(r.rows == s.plan.tokens, "routing: ", r.rows, " units, the plan that is to be kept has ", s.plan.tokens);
      return;
    }
    s.input = r;
    if constexpr (Balance::needs_target) {
      require(c.targets || !c.training() || r.rows == 0,
              "routing: balance::supervised needs the wanted expert of each of the ", r.rows,
              " units in context::targets");
      s.target = c.targets;
    }
    shape_plan(c, s, r.rows);
    kernel_.forward(c, config_, own_, r, s);
  }

  /// Clears d_gate; every apply that used the plan then adds to it.  The last two arguments, those of backward, are
  /// there for routers of slots (soft_routing.hpp).
  void open_backward(context<Backend>& c, saved& s, view<T> = {}, bool = false) const {
    kernel_.clear(c, s.d_gate, s.plan.max_slots), kernel_.clear(c, s.d_skip, s.plan.tokens);
  }

  /// Uses d_gate; router gradients +=; dr = (or += when `accumulate`); dr may be empty.
  void backward(context<Backend>& c, view<T> dr, saved& s, bool accumulate = false) const {
    require(!dr.ptr[0] || (dr.rows == s.plan.tokens && dr.cols == config_.dim), "routing: dr is ", shape_text(dr),
            ", the router input was ", shape_text(s.input));
    kernel_.backward(c, config_, own_, s.input, dr, s, accumulate);
  }

  /// Once per optimiser step: moves the loss-free bias towards balance and thresholds towards what was picked, adapts
  /// coefficients, takes over the prices that plans found, and clears the accumulators.
  void commit([[maybe_unused]] context<Backend>& c) {
    if constexpr (Balance::has_bias) kernel_.commit(c, own_, config_.balance.bias_rate());
    if constexpr (Balance::adapts) kernel_.adapt(c, own_, config_);
    if constexpr (learns_thresholds<Router>) kernel_.move_thresholds(c, own_, config_.router.threshold_rate);
    if constexpr (carries_prices<Router>) kernel_.commit_prices(c, own_);
  }

  /// What the last call did, its arrays readable by the host until the next one.  Waits for the backend.
  routing_stats stats(context<Backend>& c, const saved& s) const { return kernel_.stats(c, s); }
  /// The balance losses of the last training call, [1, terms + 1] as in routing_memory, likewise.
  view<C> balance_values(context<Backend>& c, const saved& s) const { return kernel_.values(c, s); }
  /// The plan of the last call, likewise.
  sparse_plan<C> plan(context<Backend>& c, const saved& s) const { return kernel_.plan(c, s); }

  /// The group plans of the last call, likewise, before the step's commit: analysis/transport_costs.hpp reads them.  A
  /// GPU makes them once more.
  plan_record<C> plans(context<Backend>& c, const saved& s) const
  requires(recipe.group_plan)
  {
    return kernel_.plans(c, config_, own_, s);
  }

  /// Slots that `units` units fill when nothing overflows and, where experts pick, every expert finds enough units.
  static constexpr index served(const config& c, index units) {
    if constexpr (picked) {
      if (units == 0) return 0;
      const index group = c.group_size ? std::min(c.group_size, units) : units;
      const auto slots = [&](index n) { return n ? std::min(n, c.capacity.slots({n, c.experts, 1, true})) : index{0}; };
      return c.experts * (units / group * slots(group) + slots(units % group));
    } else {
      return units * (all_experts ? c.experts : index{Router::k});
    }
  }
  /// Experts that one unit meets; where experts pick, in the mean.
  static constexpr index met(const config& c, index units) {
    return picked ? (units ? ceil_div(served(c, units), units) : 0) : (all_experts ? c.experts : index{Router::k});
  }
  /// Slots that the capacity buys for them, filled or not; those of a fallback expert not counted.
  static constexpr index bought(const config& c, index units) {
    if constexpr (recipe.capacity_binds && !picked) {
      if (units == 0) return 0;
      const index group = c.group_size ? std::min(c.group_size, units) : units;
      const auto slots = [&](index n) {
        return n ? c.capacity.slots({n, c.experts, index{Router::k}, true}) : index{0};
      };
      return c.experts * (units / group * slots(group) + slots(units % group));
    } else {
      return served(c, units);
    }
  }
  static constexpr cost count(const config& c, index units) {
    const index D = c.dim, E = c.experts, P = compared_columns(c.router, D);
    const index one = P * E + (learned_noise ? D * E : 0) + (traits::projected ? D * P : 0);
    const index biases =
        (traits::biased ? E : 0) + (traits::biased_noise ? E : 0) + (traits::biased_projection ? P : 0);
    const index numbers = E * (learned_noise ? 2 : 1) + (traits::projected ? P : 0);
    cost n = cost::dense(one + biases + (traits::cosine ? 1 : 0), one * units, units * numbers);
    n.router_macs = n.macs;
    return n;
  }

 private:
  /// Before anything is built from the numbers.
  static const config& checked(const config& c) {
    require(c.dim >= 1, "routing: dim is ", c.dim, ", it must be at least 1");
    require(c.experts >= 1, "routing: experts is ", c.experts, ", it must be at least 1");
    require(c.experts <= max_experts, "routing: experts is ", c.experts, ", the largest supported number is ",
            max_experts);
    require(Router::k < 1 || Router::k <= c.experts, "routing: the router takes K = ", Router::k,
            " experts per unit, there are only ", c.experts);
    require(c.group_size >= 0, "routing: group_size is ", c.group_size, ", it must not be negative");
    if constexpr (drops_logits<Router>)
      require(c.router.dropout >= 0 && c.router.dropout < 1, "routing: the router's dropout is ", c.router.dropout,
              ", it must be in [0, 1)");
    const input_shares shares = input_shares_of(c.router);
    require(shares.jitter >= 0 && shares.jitter < 1, "routing: the router's jitter is ", shares.jitter,
            ", it must be in [0, 1)");
    require(shares.dropout >= 0 && shares.dropout < 1, "routing: the router's input_dropout is ", shares.dropout,
            ", it must be in [0, 1)");
    if constexpr (requires { c.capacity.validate(); }) c.capacity.validate();
    c.balance.validate(c.experts);
    if constexpr (requires { c.router.validate(); }) c.router.validate();
    if constexpr (requires { c.router.validate_experts(c.experts); }) c.router.validate_experts(c.experts);
    return c;
  }

  index group_of(index units) const {
    return config_.group_size ? std::min(config_.group_size, std::max<index>(units, 1)) : std::max<index>(units, 1);
  }
  /// Where experts pick, a factor of 1 serves every unit once in the mean.
  capacity_query query(index group, bool training) const {
    return {group, config_.experts, all_experts ? config_.experts : index{traits::held}, training};
  }
  index capacity_bound(index group) const {
    return std::max(config_.capacity.slots(query(group, true)), config_.capacity.slots(query(group, false)));
  }
  void shape_plan(context<Backend>& c, saved& s, index units) const {
    sparse_plan<C>& p = s.plan;
    p.tokens = static_cast<int>(units);
    p.group_size = static_cast<int>(group_of(units));
    p.groups = static_cast<int>(units ? ceil_div(units, p.group_size) : 0);
    index cap = p.group_size;
    if (recipe.capacity_binds) cap = config_.capacity.slots(query(p.group_size, c.training()));
    if (!all_experts && (config_.padded || picked)) {
      // Settings may have changed since the plan was bound.
      const index run = config_.padded ? cap : std::min<index>(cap, p.group_size);
      const index needed = (config_.experts * run + (has_fallback ? p.group_size : 0)) * p.groups;
      require(needed <= p.max_slots, "routing: capacity ", cap, " needs ", needed, " slots, the plan was bound for ",
              p.max_slots);
    }
    p.capacity = static_cast<int>(cap);
  }

  config config_;
  Kernel kernel_;
  routing_parameters<M> own_;
};

}  // namespace polymoe
