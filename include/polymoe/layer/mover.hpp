// mover<Plan, T, Backend>: how payload rows get to the slots of a plan and back: what apply does around its experts.
//
//   input         x -> rows that experts read
//   combine       rows that experts wrote -> y
//   combine_vjp   dy -> d_out, and the gradient of the plan's combine weights
//   input_vjp     d_slots -> dx, and what else of the plan depends on x
//
// Sparse plans copy rows, through the backend's functions of one plan each.  Plans of slots multiply by matrices, which
// need products made when the layer is, or bound: `bound` keeps the latter.  A backend that has them specialises mover
// for its plan.
#pragma once

#include "../core/context.hpp"
#include "../plan/dense_plan.hpp"

namespace polymoe::inline v0 {

/// Sizes a mover is made for.
struct mover_config {
  index in = 0, out = 0;  ///< numbers of one unit: columns times rows of a unit
  index group_slots = 0;  ///< slots of a group, plans of slots only
  index group_size = 0;   ///< units of a group, likewise; 0: all of a call
};

/// The rows on the slots' side of a plan, in slot order.
template <class T>
struct slot_side {
  view<const T> d_slots;  ///< gradient of what experts read
  view<const T> slots;    ///< what they read; without memory where rows are not copied
  view<const T> out;      ///< what they wrote; without memory where it is not kept
};

template <class Plan, class T, class Backend>
class mover;

template <class C, class T, class Backend>
class mover<sparse_plan<C>, T, Backend> {
 public:
  using plan = sparse_plan<C>;
  using ctx = context<Backend>;

  struct bound {};

  explicit mover(const mover_config&) {}
  bound bind(binder<Backend>&, index, index) const { return {}; }

  auto input(ctx& c, const bound&, const plan& p, view<const T> x, index unit_rows, view<T> gathered) const {
    return expert_input(c, p, x, unit_rows, gathered);
  }
  void combine(ctx& c, const bound&, const plan& p, view<const T> out, view<const T> x, index unit_rows,
               view<T> y) const {
    combine_slots<T>(c, p, out, x, unit_rows, y);
  }
  void combine_vjp(ctx& c, const bound&, const plan& p, view<const T> dy, view<const T> out, view<const T> x,
                   index unit_rows, view<T> d_out, const plan_grad<plan>& d) const {
    combine_backward<T>(c, p, dy, out, x, unit_rows, d_out, d.gate, d.skip);
  }
  void input_vjp(ctx& c, const bound&, const plan& p, const slot_side<T>& side, view<const T> dy, view<const T>,
                 index unit_rows, view<T> dx, const plan_grad<plan>&) const {
    if (dx.ptr[0]) gather_backward<T>(c, p, side.d_slots, dy, unit_rows, dx);
  }
};

}  // namespace polymoe
