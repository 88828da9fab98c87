// recipe: which code a composition runs, chosen at compile time and printable.
#pragma once

#include <string>

#include "support.hpp"

namespace polymoe::inline v0 {

enum class route_path { row_per_lane_group, rows_then_columns };
enum class dispatch_path { gather_packed, gather_padded, no_copy, matrix };
enum class combine_path { gather_fixed_stride, gather_list, matrix };

namespace detail {
/// Experts per unit, for describe().
inline std::string choices_text(int k) {
  if (k == every_expert) return "all";
  if (k == picked_by_experts) return "as picked by experts";
  if (k == mixed_into_slots) return "all through slots";
  return std::to_string(k);
}
}  // namespace detail

struct recipe {
  route_path route = route_path::row_per_lane_group;
  dispatch_path dispatch = dispatch_path::gather_packed;
  combine_path combine = combine_path::gather_fixed_stride;
  bool noisy = false;            ///< noise is drawn in training
  int router_matrices = 1;
  int balance_terms = 0;
  bool capacity_binds = false;   ///< places can run out
};

template <class Spec, class Backend>
consteval recipe choose() {
  recipe r;
  using Router = typename Spec::router;
  if (Router::k == every_expert) r.dispatch = dispatch_path::no_copy;
  if (Router::k == picked_by_experts) r.combine = combine_path::gather_list;
  if (Router::k == picked_by_experts || Router::k == mixed_into_slots || plans_groups<Router>)
    r.route = route_path::rows_then_columns;
  if (Router::k == mixed_into_slots) r.dispatch = dispatch_path::matrix, r.combine = combine_path::matrix;
  r.noisy = has_noise<Router, detail::probe_row>;
  r.router_matrices = projections<Router>;
  r.balance_terms = balance::as_sum<typename Spec::balance>::terms;
  r.capacity_binds = Spec::capacity::limited;
  return r;
}

}  // namespace polymoe
