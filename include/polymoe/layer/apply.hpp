// apply<Spec, Backend>: the second half of a layer: payload and plan to output.
//
//   forward   gather -> exchange -> experts -> exchange -> combine
//   backward  dy -> dx; adds to the gradients of the plan; expert gradients +=
//
// One text for all plans: what moves rows is the plan's mover.
//
// Several applies may use one plan (one router shared by several layers).
#pragma once

#include "../backend/cpu/expert_rows.hpp"
#include "../backend/cpu/move.hpp"
#include "../backend/cpu/slot_move.hpp"
#include "mover.hpp"
#include "routing.hpp"

namespace polymoe::inline v0 {

/// Run-time values of an apply.
struct apply_config {
  index dim = 0;        ///< D, columns of the payload
  index hidden = 0;     ///< H of one expert
  index out = 0;        ///< columns of the output: D, or the number of classes
  index experts = 0;    ///< with the fallback expert
  index unit_rows = 1;  ///< payload rows per routed unit
  index group_slots = 0;  ///< slots of a group, for plans of slots only
  bool even = false;    ///< plans of slots, or padded without a fallback expert: every expert owns as many slots
  index map_height = 0; ///< rows of pixels of a unit that is a feature map; 0: a square one
  double dropout = 0;   ///< of the experts' hidden rows
  bool equal_experts = false; ///< all experts start with the values of the first
  index group_size = 0; ///< units of a group, for plans of slots only; 0: all of a call
};

/// x [T * unit_rows, D] and a plan -> y [T * unit_rows, D_out].  Parameters: those of the experts; the caller owns all
/// memory.
template <class Spec, class Backend>
class apply {
 public:
  using scalar = typename Spec::scalar;
  using backend = Backend;
  using T = scalar;
  using C = compute_t<T>;
  using Expert = typename detail::expert_module_of<Spec, Backend>::type;
  using Plan = typename plan_of<Spec, Backend>::type;
  using Mover = mover<Plan, T, Backend>;
  static constexpr polymoe::recipe recipe = choose<Spec, Backend>();
  static constexpr bool identity_plan = recipe.all_experts();
  static constexpr bool keeps_input = recipe.keeps_input, keeps_output = recipe.keeps_output;
  /// Whether the expert knows dropout of its hidden rows.
  static constexpr bool drops_hidden = [] {
    if constexpr (requires { Expert::drops_hidden; }) return Expert::drops_hidden;
    else return false;
  }();

  struct saved {
    view<T> gathered;    ///< [S * unit_rows, D] where rows are gathered; for mixtures a copy of the payload
    view<T> out;         ///< [S * unit_rows, D_out]; without memory when outputs are not kept
    view<const T> x;     ///< payload, kept alive by the caller
    typename Expert::saved expert;
    typename Backend::expert_work work;
    typename Mover::bound mover;
    index max_units = 0;
  };

  explicit apply(apply_config c)
      : config_(checked(c)),
        expert_(sizes(c)),
        mover_({c.unit_rows * c.dim, c.unit_rows * c.out, c.group_slots, c.group_size}) {}
  const apply_config& settings() const { return config_; }

  template <class V>
  void visit(V& v) {
    v.equal_stacks(config_.equal_experts);
    v.child("experts", expert_);
    v.equal_stacks(false);
  }
  void refresh(context<Backend>& c) { expert_.refresh(c); }
  /// How the products of experts run, where there is a choice; else empty.  Complete after bind.
  std::string describe_products() const {
    if constexpr (requires { expert_.describe(); }) return expert_.describe();
    else return {};
  }

  /// `slots` and `units` are the bounds of the routing that makes the plan; G its groups.
  saved bind(binder<Backend>& b, index slots, index units, index groups) const {
    saved s;
    const index r = config_.unit_rows, rows = checked_mul(slots, r, "apply: slot rows");
    s.max_units = units;
    const index gathered = identity_plan ? units * r : recipe.mixes() || reads_slots() ? rows : 0;
    if (keeps_input) s.gathered = b.saved.template take<T>(gathered, config_.dim);
    else s.gathered.rows = gathered, s.gathered.cols = s.gathered.stride = config_.dim;
    if (keeps_output) s.out = b.saved.template take<T>(rows, config_.out);
    else s.out.rows = rows, s.out.cols = s.out.stride = config_.out;
    s.work.bind(b, static_cast<int>(config_.experts), config_.experts * groups, rows);
    arena_scope call(b.scratch);
    b.scratch.template take<T>(rows, config_.out);
    b.scratch.template take<T>(rows, config_.dim);
    take_gathered(b.scratch, s);
    s.mover = mover_.bind(b, units, groups);
    s.expert = expert_.bind(b, rows);
    return s;
  }

  /// x [T * unit_rows, D] -> y [T * unit_rows, D_out].
  void forward(context<Backend>& c, view<const T> x, const Plan& p, view<T> y, saved& s) const {
    const index r = config_.unit_rows;
    require(x.cols == config_.dim, "apply: x is ", shape_text(x), ", the layer was built for dim ", config_.dim);
    require(y.cols == config_.out, "apply: y is ", shape_text(y), ", the layer writes ", config_.out, " columns");
    require(x.rows == p.tokens * r && y.rows == x.rows, "apply: x is ", shape_text(x), " and y ", shape_text(y),
            ", the plan has ", p.tokens, " units of ", r, " rows");
    require(p.tokens <= s.max_units && p.max_slots * r <= s.out.rows, "apply: the plan has ", p.tokens,
            " units and up to ", p.max_slots, " slots, memory was bound for ", s.max_units, " units and ",
            s.out.rows / r, " slots");
    require(p.all_experts == config_.experts && (identity_plan ? 1 : p.groups) * config_.experts <= s.work.max_runs,
            "apply: the plan has ", p.all_experts, " experts in ", p.groups, " groups, memory was bound for ",
            config_.experts, " experts and ", s.work.max_runs, " runs");
    s.x = x;
    s.work.list(p, r);
    arena_scope call(c.scratch);
    const view<T> out = keeps_output ? s.out : c.scratch.template take<T>(s.out.rows, config_.out);
    expert_.forward(c, s.work, mover_.input(c, s.mover, p, x, r, take_gathered(c.scratch, s)), out, s.expert);
    mover_.combine(c, s.mover, p, out, x, r, y);
  }

  /// A plan of another kind: one sentence in the place of a failed conversion.
  template <class Other>
    requires(!std::is_convertible_v<const Other&, const Plan&>)
  void forward(context<Backend>&, view<const T>, const Other&, view<T>, saved&) const {
      static_assert(std::is_same_v<Other, Plan>,
                    "polymoe M041: apply serves the kind of plan that the router of its spec makes: a sparse_plan, or "
                    "for soft_slots the backend's slot_plan; a dense plan (expand, plan()) is for looking at. See "
                    "docs/errors.md#M041");
  }
  /// dx = ; expert gradients += ; gradients of the plan +=.
  void backward(context<Backend>& c, view<const T> dy, const Plan& p, const plan_grad<Plan>& d_plan, view<T> dx,
                saved& s) const {
    const index r = config_.unit_rows;
    require(dy.rows == s.x.rows && dy.cols == config_.out, "apply: dy is ", shape_text(dy), ", y was [", s.x.rows, ", ",
            config_.out, "]");
    require(!dx.ptr[0] || (dx.rows == s.x.rows && dx.cols == config_.dim), "apply: dx is ", shape_text(dx), ", x was ",
            shape_text(s.x));
    arena_scope call(c.scratch);
    const view<T> d_out = c.scratch.template take<T>(s.out.rows, config_.out);
    const view<T> d_slots = c.scratch.template take<T>(s.out.rows, config_.dim);
    mover_.combine_vjp(c, s.mover, p, dy, keeps_output ? s.out : view<T>{}, s.x, r, d_out, d_plan);
    const view<T> gathered = take_gathered(c.scratch, s);
    if constexpr (!keeps_input) s.expert.x = mover_.input(c, s.mover, p, s.x, r, gathered);
    if constexpr (keeps_output) expert_.backward(c, s.work, d_out, d_slots, s.expert, !identity_plan);
    else
      expert_.backward(c, s.work, d_out, d_slots, s.expert, !identity_plan, expert_gates<T>{p, d_out, d_plan.gate, r});
    mover_.input_vjp(c, s.mover, p, {d_slots, gathered, keeps_output ? s.out : view<T>{}}, dy, s.x, r, dx, d_plan);
  }
  /// The same with the gradients of a sparse plan one by one.
  void backward(context<Backend>& c, view<const T> dy, const Plan& p, view<C> d_gate, view<C> d_skip, view<T> dx,
                saved& s) const
    requires std::is_same_v<Plan, sparse_plan<C>>
  {
    backward(c, dy, p, {d_gate, d_skip}, dx, s);
  }

  static constexpr cost count_one(const apply_config& c) { return Expert::count_one(sizes(c)); }

 private:
  /// True when experts read a copy of their rows in slot order.
  bool reads_slots() const {
    if constexpr (requires { expert_.reads_slots(); }) return recipe.copies_rows || expert_.reads_slots();
    else return recipe.copies_rows;
  }
  /// Where the rows that experts read go: kept memory, or scratch where they are not kept.
  static view<T> take_gathered(arena& scratch, const saved& s) {
    return keeps_input ? s.gathered : scratch.template take<T>(s.gathered.rows, s.gathered.cols);
  }
  static constexpr expert_config sizes(const apply_config& c) {
    return {c.experts,     c.dim,       c.hidden,    c.out, c.even || identity_plan, identity_plan, Spec::products,
            c.unit_rows, c.map_height, c.dropout};
  }
  static const apply_config& checked(const apply_config& c) {
    require(c.dim >= 1 && c.out >= 1 && c.unit_rows >= 1 && c.experts >= 1, "apply: dim ", c.dim, ", out ", c.out,
            ", experts ", c.experts, " and unit_rows ", c.unit_rows, " must be at least 1");
    require(c.dropout == 0 || drops_hidden, "apply: dropout is ", c.dropout,
            ", this expert has none: leave expert_dropout at 0");
    return c;
  }

  apply_config config_;
  Expert expert_;
  Mover mover_;
};

}  // namespace polymoe
