// The two halves of a layer as a user puts them together, so that a test can stand between them: look at the plan,
// exchange it, or bring one of its own.
#pragma once

#include "moe_reference.hpp"

namespace moe_test {

/// An apply alone, for plans of up to `slots` slots in `groups` groups.
template <class Spec, class Backend = polymoe::cpu>
struct apply_module {
  using scalar = typename Spec::scalar;
  using backend = Backend;
  using apply_type = polymoe::apply<Spec, Backend>;
  struct saved {
    typename apply_type::saved apply;
  };
  apply_type apply;
  index slots = 0, groups = 0;

  apply_module(polymoe::apply_config c, index most_slots, index most_groups)
      : apply(c), slots(most_slots), groups(most_groups) {}
  template <class V>
  void visit(V& v) {
    apply.visit(v);
  }
  saved bind(polymoe::binder<Backend>& b, index units) const { return {apply.bind(b, slots, units, groups)}; }
  void refresh(polymoe::context<Backend>& c) { apply.refresh(c); }
};

/// A routing and an apply; max_rows counts units of `unit_rows` rows.
template <class Spec, class Backend = polymoe::cpu>
struct routed_apply {
  using scalar = typename Spec::scalar;
  using backend = Backend;
  using routing_type = polymoe::routing<Spec, Backend>;
  using apply_type = polymoe::apply<Spec, Backend>;
  struct saved {
    typename routing_type::saved routing;
    typename apply_type::saved apply;
  };
  routing_type routing;
  apply_type apply;

  routed_apply(typename routing_type::config r, index hidden, index unit_rows = 1)
      : routing(r),
        apply(
            {.dim = r.dim, .hidden = hidden, .out = r.dim, .experts = routing.plan_experts(), .unit_rows = unit_rows}) {
  }
  template <class V>
  void visit(V& v) {
    v.child("router", routing);
    apply.visit(v);
  }
  saved bind(polymoe::binder<Backend>& b, index units) const {
    saved s;
    s.routing = routing.bind(b, units);
    const index group = routing.settings().group_size ? routing.settings().group_size : std::max<index>(units, 1);
    s.apply = apply.bind(b, routing.max_slots(units), units, polymoe::ceil_div(std::max<index>(units, 1), group));
    return s;
  }
  void refresh(polymoe::context<Backend>& c) { routing.refresh(c), apply.refresh(c); }
};

}  // namespace moe_test
