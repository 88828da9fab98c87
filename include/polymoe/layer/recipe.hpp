// recipe: which code a composition runs, chosen at compile time and printable.
//
// The one place of these choices: routing, apply, layer and the route kernels branch on what is said here, describe()
// prints it.  It is made in three steps, because whoever needs one does not know what the next is made of:
//
//   choose_route<Router, Capacity, Backend>   how units get their slots: what a route kernel is compiled for
//   choose_routing<Spec, Backend>             ... and what a routing keeps for its backward
//   choose<Spec, Backend>                     ... and what an apply does: the recipe of a layer
//
// One thing is known at run time only, whether a sparse plan is padded: in_layout(padded) is the recipe with it.
#pragma once

#include <string>

#include "../capacity/capacity.hpp"
#include "../combine/combine.hpp"
#include "../expert/product_path.hpp"
#include "../expert/save.hpp"
#include "../plan/sparse_plan.hpp"
#include "../router/route_row.hpp"

namespace polymoe::inline v0 {

/// Whether slots follow from a unit's own row of scores, or from all rows of its group: a phase behind the rows.
enum class route_path { row_per_lane_group, rows_then_columns };
/// How payload rows get to slots: copied (or read) by a plan's ids, as they are, or multiplied by a matrix.
enum class dispatch_path { gather_packed, gather_padded, no_copy, matrix };
/// How rows of slots come back: K slots a unit, a list of slots a unit, or a matrix.
enum class combine_path { gather_fixed_stride, gather_list, matrix };

namespace detail {
/// Experts per unit, for describe().
inline std::string choices_text(int k) {
  if (k == every_expert) return "all";
  if (k == picked_by_experts) return "as picked by experts";
  if (k == mixed_into_slots) return "all through slots";
  return std::to_string(k);
}
/// Whether a backend makes the plans of groups although neither choices nor gates are made of them, and keeps them.
template <class Backend>
inline constexpr bool keeps_plans = requires { requires bool(Backend::keeps_plans); };
/// Whether an expert's products are what Spec::products asks for.
template <class Expert>
inline constexpr bool chooses_products = requires { requires bool(Expert::chooses_products); };
}  // namespace detail

/// True when a router's slots are mixtures of units (Soft MoE): such a routing, its plan and kernels are types of their
/// own.
template <class Router>
inline constexpr bool makes_slot_plan = Router::k == mixed_into_slots;

/// The choices; see the top of this file for who makes which.
struct recipe {
  // of the route
  route_path route = route_path::row_per_lane_group;
  dispatch_path dispatch = dispatch_path::gather_packed;
  combine_path combine = combine_path::gather_fixed_stride;
  bool group_plan = false;      ///< a plan of each group is made behind its rows
  bool capacity_binds = false;  ///< places can run out
  bool fallback = false;        ///< one more expert takes what finds no place
  bool unit_for_expert = false; ///< the unit itself stands in for an expert that has no place
  // of the routing
  bool noisy = false;        ///< logits with noise and dropout are kept beside the clean ones
  int router_matrices = 1;   ///< 2 where the noise deviation is learned
  int balance_terms = 0;
  bool skip = false;         ///< units are part of their own output
  // of the apply
  bool copies_rows = true;   ///< experts read a copy in slot order; false: through the plan where products are grouped
  bool keeps_input = true;   ///< false: the rows that experts read are gathered again in backward
  bool keeps_output = true;  ///< false: the experts' outputs are not kept, their backward finds the gates' gradients

  constexpr bool all_experts() const { return dispatch == dispatch_path::no_copy; }
  constexpr bool mixes() const { return dispatch == dispatch_path::matrix; }
  constexpr bool picked() const { return combine == combine_path::gather_list; }
  /// Every unit chooses K experts.
  constexpr bool by_unit() const { return !all_experts() && !mixes() && !picked(); }
  constexpr bool columns() const { return route == route_path::rows_then_columns; }

  /// That of a layer with layer_config::padded as given.
  constexpr recipe in_layout(bool padded) const {
    recipe r = *this;
    if (padded && dispatch == dispatch_path::gather_packed) r.dispatch = dispatch_path::gather_padded;
    return r;
  }
  /// Of its sparse plan.
  constexpr plan_layout layout() const {
    if (all_experts()) return plan_layout::identity;
    return dispatch == dispatch_path::gather_padded ? plan_layout::padded : plan_layout::packed;
  }

  friend constexpr bool operator==(const recipe&, const recipe&) = default;
};

/// The plan of a recipe, for describe().
inline std::string plan_text(const recipe& r) {
  std::string text;
  switch (r.dispatch) {
    case dispatch_path::gather_packed: text = "plan packed"; break;
    case dispatch_path::gather_padded: text = "plan padded [E, G*C]"; break;
    case dispatch_path::no_copy: text = "plan identity (no copy)"; break;
    case dispatch_path::matrix: text = "plan of slots"; break;
  }
  switch (r.combine) {
    case combine_path::gather_fixed_stride: return text + ", combine by gather";
    case combine_path::gather_list: return text + ", combine by gather from lists";
    case combine_path::matrix: return text + ", dispatch and combine [T, E*C]";
  }
  return text;
}

/// How units get their slots.
template <class Router, class Capacity, class Backend>
consteval recipe choose_route() {
  constexpr bool mixture = Router::k == every_expert, picked = Router::k == picked_by_experts;
  constexpr bool mixes = makes_slot_plan<Router>;
  constexpr auto kind = Capacity::overflow_policy::value;
  recipe r;
  if (mixture) r.dispatch = dispatch_path::no_copy;
  if (picked) r.combine = combine_path::gather_list;
  if (mixes) r.dispatch = dispatch_path::matrix, r.combine = combine_path::matrix;
  // A mixture chooses nothing, so it needs a plan for its gates only.
  r.group_plan = plans_groups<Router> && (!mixture || weighs_plan<Router> || detail::keeps_plans<Backend>);
  if (picked || mixes || r.group_plan) r.route = route_path::rows_then_columns;
  r.capacity_binds = Capacity::limited && !mixture && !mixes;
  const bool chooses = r.capacity_binds && !picked;
  r.fallback = chooses && kind == overflow::kind::fallback;
  r.unit_for_expert = chooses && kind == overflow::kind::identity;
  return r;
}

/// ... and what a routing keeps.
template <class Spec, class Backend>
consteval recipe choose_routing() {
  using Router = typename Spec::router;
  using probe = row<scalar_group, 8, compute_t<typename Spec::scalar>>;
  recipe r = choose_route<Router, typename Spec::capacity, Backend>();
  // Prepared logits are kept where they differ by draws, and where a group plan is made of them.
  r.noisy = perturbs_logits<Router, probe> || (plans_groups<Router> && prepares_logits<Router, probe>);
  r.router_matrices = projections<Router>;
  r.balance_terms = balance::as_sum<typename Spec::balance>::terms;
  r.skip = rest_to_unit<typename Spec::combine> || r.unit_for_expert;
  return r;
}

namespace detail {
/// Spec::expert's module, with Spec::save if it takes one (support() refuses other policies where it does not).
template <class Spec, class Backend>
struct expert_module_of {
  using type = typename Spec::expert::template module<typename Spec::scalar, Backend>;
};
template <class Spec, class Backend>
  requires saves<Spec, Backend>
struct expert_module_of<Spec, Backend> {
  using type = typename Spec::expert::template module<typename Spec::scalar, Backend, typename Spec::save>;
};
}  // namespace detail

/// ... and what an apply does: all of a layer's choices.
template <class Spec, class Backend>
consteval recipe choose() {
  using Expert = typename detail::expert_module_of<Spec, Backend>::type;
  recipe r = choose_routing<Spec, Backend>();
  r.copies_rows = Backend::gathers;
  // Batched products want as many rows of every expert, which a packed plan does not give: the expert refuses it.
  if (Spec::products == product_path::batched && detail::chooses_products<Expert>) r = r.in_layout(true);
  if constexpr (requires { Expert::keeps_input; }) r.keeps_input = Expert::keeps_input;
  if constexpr (requires { Expert::keeps_output; }) r.keeps_output = Expert::keeps_output;
  return r;
}

}  // namespace polymoe
