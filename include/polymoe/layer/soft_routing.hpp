// routing<Spec, Backend> for routers that mix units into slots (Soft MoE): from router input to a plan of slots.
//
//   forward   r [T, D_r] -> what dispatch and combine [T, E*C] are made of, in the backend's form; statistics
//   backward  what the users of the plan added up -> d_r, gradients of phi and of the scale
//
// The same members as the routing of sparse plans, so that a layer is one text.  Where the matrices are never whole,
// neither are their gradients: every apply then adds straight to d_r, and open_backward says where that is.  r and the
// routing itself stay where they are from forward to backward.  Parameters: `phi` [E*C, D_r], slot
// e*C + c belonging to expert e, and `scale` [1, 1] where the router normalises.
#pragma once

#include "../core/cost.hpp"
#include "../plan/dense_plan.hpp"
#include "../router/soft_slots.hpp"
#include "routing.hpp"

namespace polymoe::inline v0 {

/// Trained quantities of a router of slots.
template <class M>
struct slot_parameters {
  param<M> phi, scale;
  std::uint64_t noise_stream = 0;  ///< id of the stream of the noise on logits
};

/// What every backend keeps of a call from forward to backward.
template <class Plan>
struct slot_memory {
  Plan plan;
  view<typename Plan::gate_type> values;  ///< [1, 1] no balance loss: zero
  routing_stats stats;                    ///< load is the mass of the combine matrix
};

template <class Spec, class Backend>
requires makes_slot_plan<typename Spec::router> class routing<Spec, Backend> : public routing_traits<Spec, Backend> {
 public:
  using scalar = typename Spec::scalar;
  using backend = Backend;
  using T = scalar;
  using C = compute_t<T>;
  using M = master_t<T>;
  using Router = typename Spec::router;
  using Kernel = polymoe::backend::router_kernel<Spec, Backend>;
  using config = routing_config<Spec>;
  static constexpr bool per_image = std::is_same_v<typename Router::axis, axis::image>;

  struct saved : Kernel::memory {
    view<const T> input;  ///< the caller keeps the router input alive until backward
    index max_units = 0;
  };

  explicit routing(config c) : config_(checked(c)), kernel_(c.dim, slots_of(c)) {}

  const config& settings() const { return config_; }
  config& settings() { return config_; }
  index in_cols() const { return config_.dim; }
  int plan_experts() const { return static_cast<int>(config_.experts); }
  /// E * C, the columns of the plan.
  index group_slots() const { return slots_of(config_); }

  template <class V>
  void visit(V& v) {
    const index S = group_slots(), D = config_.dim;
    v.add(own_.phi, "phi", {S, D}, init_rule::normal(1.0 / std::sqrt(static_cast<double>(D))), decay::no);
    if constexpr (Router::normalised)
      v.add(own_.scale, "scale", {1, 1}, init_rule::constant(static_cast<double>(config_.router.first_scale)),
            decay::no);
    kernel_.visit(v);
    v.add_stream(own_.noise_stream, "noise");
  }

  index max_slots(index units) const {
    return units == 0 ? 0 : checked_mul(group_slots(), ceil_div(units, group_of(units)), "routing: slots");
  }

  saved bind(binder<Backend>& b, index max_units) const {
    saved s;
    const index S = group_slots(), E = config_.experts, group = group_of(max_units);
    const index G = config_.group_size ? ceil_div(max_units, group) : 1;
    require(max_units < (index{1} << 31) && max_slots(max_units) < (index{1} << 31) &&
                checked_mul(max_units, S, "routing") < (index{1} << 40),
            "routing: ", max_units, " units with ", max_slots(max_units),
            " slots exceed the 32-bit ids of a plan (2147483647)");
    s.max_units = max_units;
    slot_layout& p = s.plan;
    p.tokens = static_cast<int>(max_units), p.groups = static_cast<int>(G), p.group_size = static_cast<int>(group);
    p.experts = p.all_experts = static_cast<int>(E), p.capacity = static_cast<int>(S / E);
    s.values = b.saved.template take<C>(1, 1);
    s.stats.gate_mass = b.saved.template take_raw<double>(E);
    s.stats.wished = b.saved.template take_raw<index>(E);
    s.stats.served = b.saved.template take_raw<index>(E);
    kernel_.bind(b, s, max_units, config_);
    return s;
  }

  void refresh(context<Backend>& c) { kernel_.refresh(c, own_); }

  void forward(context<Backend>& c, view<const T> r, saved& s) const {
    require(r.cols == config_.dim, "routing: input is ", shape_text(r), ", the router was built for dim ", config_.dim);
    require(r.rows <= s.max_units, "routing: ", r.rows, " units, memory was bound for ", s.max_units);
    require(!per_image || r.rows % config_.group_size == 0, "routing: ", r.rows, " units are no whole images of ",
            config_.group_size, " tokens");
    require(!c.keep_plans, "routing: soft_slots make their plan of the input anew in every call, it cannot be kept");
    s.input = r;
    slot_layout& p = s.plan;
    p.tokens = static_cast<int>(r.rows);
    p.group_size = static_cast<int>(group_of(r.rows));
    p.groups = static_cast<int>(r.rows ? ceil_div(r.rows, p.group_size) : 0);
    p.max_slots = static_cast<int>(max_slots(r.rows));
    kernel_.forward(c, config_, own_, r, s);
  }
  /// Clears the gradients of the plan; every apply that used the plan then adds to them.  `dr` and `accumulate` are
  /// those that backward will get.  dr may be the dx of an apply, which writes it before the router's part is added:
  /// then `accumulate` is true.
  void open_backward(context<Backend>& c, saved& s, view<T> dr, bool accumulate = false) const {
    check_input_gradient(dr, s);
    kernel_.open_backward(c, s, dr, accumulate);
  }
  /// Uses (and overwrites) the gradients of the plan; parameter gradients +=; dr = (or += when `accumulate`).
  void backward(context<Backend>& c, view<T> dr, saved& s, bool accumulate = false) const {
    check_input_gradient(dr, s);
    kernel_.backward(c, config_, own_, s.input, dr, s, accumulate);
  }
  void commit(context<Backend>&) {}

  routing_stats stats(context<Backend>& c, const saved& s) const { return kernel_.stats(c, s); }
  view<C> balance_values(context<Backend>& c, const saved& s) const { return kernel_.values(c, s); }
  /// Both matrices of the last call, spelled out; allocates.
  owned_dense_plan<C> plan(context<Backend>& c, const saved& s) const { return kernel_.plan(c, s); }

  /// Slots that `units` units are mixed into.
  static constexpr index served(const config& c, index units) {
    return units ? slots_of(c) * (c.group_size ? ceil_div(units, c.group_size) : 1) : 0;
  }
  static constexpr index bought(const config& c, index units) { return served(c, units); }
  static constexpr index met(const config& c, index) { return c.experts; }
  /// Logits, dispatch and combine are products of the same size.
  static constexpr cost count(const config& c, index units) {
    const index one = c.dim * slots_of(c), params = one + (Router::normalised ? 1 : 0);
    cost n = cost::dense(params, 3 * one * units, units * slots_of(c));
    n.router_macs = n.macs;
    return n;
  }

 private:
  void check_input_gradient(view<T> dr, const saved& s) const {
    require(!dr.ptr[0] || (dr.rows == s.plan.tokens && dr.cols == config_.dim), "routing: dr is ", shape_text(dr),
            ", the router input was ", shape_text(s.input));
  }
  static constexpr index slots_of(const config& c) {
    return c.experts * c.router.slots_of_expert(c.group_size, c.experts);
  }
  static const config& checked(const config& c) {
    require(c.dim >= 1, "routing: dim is ", c.dim, ", it must be at least 1");
    require(c.experts >= 1, "routing: experts is ", c.experts, ", it must be at least 1");
    require(c.experts <= max_experts, "routing: experts is ", c.experts, ", the largest supported number is ",
            max_experts);
    c.router.validate();
    require(!per_image || c.group_size >= 1, "routing: soft_slots over the tokens of an image need group_size, it is ",
            c.group_size, "; to mix over the batch write axis::batch");
    require(per_image || c.group_size == 0, "routing: soft_slots over the batch take group_size 0, it is ",
            c.group_size, "; to mix over the tokens of an image write axis::image");
    const index slots = c.router.slots_of_expert(c.group_size, c.experts);
    require(checked_mul(c.experts, slots, "routing: slots") <= (index{1} << 20), "routing: ", c.experts, " experts of ",
            slots, " slots are ", c.experts * slots, " slots a group, at most ", index{1} << 20, " are supported");
    return c;
  }
  index group_of(index units) const { return config_.group_size ? config_.group_size : std::max<index>(units, 1); }

  config config_;
  Kernel kernel_;
  slot_parameters<M> own_;
};

}  // namespace polymoe
