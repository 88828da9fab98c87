// recipe: which code a composition runs, chosen at compile time and printable.
#pragma once

#include <string>

#include "support.hpp"

namespace polymoe::inline v0 {

enum class route_path { row_per_lane_group };
enum class dispatch_path { gather_packed, gather_padded, no_copy };
enum class combine_path { gather_fixed_stride };

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
  r.noisy = has_noise<Router, detail::probe_row>;
  r.router_matrices = projections<Router>;
  r.balance_terms = balance::as_sum<typename Spec::balance>::terms;
  r.capacity_binds = Spec::capacity::limited;
  return r;
}

}  // namespace polymoe
