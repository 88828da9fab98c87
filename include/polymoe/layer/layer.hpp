// layer<Spec, Backend>: a Mixture-of-Experts layer composed of policies.
//
//   x [T, D] -> router -> plan -> experts -> y [T, D_out]
//
// It is the composition of routing (router input to plan) and apply (payload and plan to output); the unit policy says
// what is routed.  Memory is the caller's: see core/param.hpp for the five kinds, core/workspace.hpp for an owner.
#pragma once

#include "../backend/cpu/slot_kernel.hpp"
#include "apply.hpp"
#include "support.hpp"

namespace polymoe::inline v0 {

/// Run-time values of a layer.
template <class Spec>
struct layer_config {
  index dim = 0;         ///< D
  index hidden = 0;      ///< H of one expert
  index experts = 0;     ///< E
  index classes = 0;     ///< output columns, for head experts only
  index unit_rows = 1;   ///< rows of a unit when the unit is a block (tokens of an image, pixels of a feature map)
  index map_height = 0;  ///< rows of pixels of a feature map, for convolution experts; 0: the map is square
  index group_size = 0;  ///< units that compete for slots together; 0: all of a call
  bool padded = false;   ///< padded plan layout; E n slots a group of n where capacity is unlimited
  double expert_dropout = 0;  ///< share of an expert's hidden numbers that are 0 in training (V-MoE 0.2, paper B 0.1)
  bool equal_experts = false;  ///< all experts start with the values of the first; else each draws its own
  typename Spec::router router{};
  typename Spec::capacity capacity{};
  typename Spec::combine combine{};
  balance::as_sum<typename Spec::balance> balance{};

  /// Columns of the output: D, or the classes of a head.
  constexpr index out_cols() const { return Spec::expert::head_of_classes ? classes : dim; }
  /// Of the routing half.
  constexpr routing_config<Spec> routing_settings() const {
    return {dim, experts, group_size, router, capacity, combine, balance, padded};
  }
  /// Of the apply half, as far as its cost depends on it.
  constexpr apply_config expert_settings() const {
    apply_config a;
    a.dim = dim, a.hidden = hidden, a.out = out_cols(), a.experts = experts;
    a.unit_rows = unit_rows, a.map_height = map_height;
    return a;
  }
  /// Of an apply half that serves the plans of `r`.
  template <class Routing>
  constexpr apply_config apply_settings(const Routing& r) const {
    apply_config a = expert_settings();
    a.experts = r.plan_experts(), a.group_slots = r.group_slots(), a.group_size = group_size;
    a.even = (padded || Routing::recipe.mixes()) && !Routing::recipe.fallback;
    a.dropout = expert_dropout, a.equal_experts = equal_experts;
    return a;
  }
};

/// A composition that support() refuses: nothing but the sentence that says why, so that one mistake is one error.
template <class Spec, class Backend>
class layer {
  static_assert(detail::explain<Spec, Backend>(),
                "polymoe: this composition is refused; the sentence before this one says why");
};

namespace detail {

/// All experts for `units` units of `unit_rows` rows; `one`: what an expert costs for one row.
template <class Routing>
constexpr cost cost_of_experts(const typename Routing::config& r, index units, index unit_rows, const cost& one) {
  const index served = Routing::served(r, units) * unit_rows;
  cost n;
  n.params = (r.experts + (Routing::recipe.fallback ? 1 : 0)) * one.params,
  n.active_params = Routing::met(r, units) * one.params;
  n.macs = n.routed_macs = served * one.macs, n.activations = served * one.activations;
  n.expert_macs = units * unit_rows * one.macs, n.slot_macs = Routing::bought(r, units) * unit_rows * one.macs;
  return n;
}

/// What layer<> is when its composition is supported.  A template of its own, because some compilers cannot define
/// members of a constrained specialisation outside of it.
template <class Spec, class Backend>
class working_layer {
 public:
  using spec = Spec;
  using scalar = typename Spec::scalar;
  using backend = Backend;
  using T = scalar;
  using C = compute_t<T>;
  using Unit = typename Spec::unit;
  using routing_type = routing<Spec, Backend>;
  using apply_type = apply<Spec, Backend>;
  using config = layer_config<Spec>;
  static constexpr polymoe::recipe recipe = apply_type::recipe;

  struct saved {
    typename routing_type::saved routing;
    typename apply_type::saved apply;
    view<T> pooled;    ///< router input of block units, [U, D]
    view<T> d_pooled;
  };

  explicit working_layer(config c)
      : config_(checked(c)), routing_(c.routing_settings()), apply_(c.apply_settings(routing_)) {}

  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.out_cols(); }
  const config& settings() const { return config_; }
  routing_type& router() { return routing_; }
  const routing_type& router() const { return routing_; }

  template <class V>
  void visit(V& v) {
    v.child("router", routing_);
    apply_.visit(v);
  }
  saved bind(binder<Backend>& b, index max_rows) const;
  void refresh(context<Backend>& c);

  /// x [T * unit_rows, D] -> y [T * unit_rows, D_out].  x must stay alive until backward.
  void forward(context<Backend>& c, view<const T> x, view<T> y, saved& s) const;
  /// dx = ; parameter gradients +=, balance losses included.
  void backward(context<Backend>& c, view<const T> dy, view<T> dx, saved& s) const;
  /// Once per optimiser step.
  void commit(context<Backend>& c);

  /// Weighted sum of the balance losses of the last training forward.  Waits for the backend, as the next two.
  C balance_loss(context<Backend>& c, const saved& s) const {
    const view<C> values = routing_.balance_values(c, s.routing);
    return values.get(0, values.cols - 1);
  }
  /// What the last forward did, and its plan; the host may read their arrays until the next call.
  routing_stats stats(context<Backend>& c, const saved& s) const { return routing_.stats(c, s.routing); }
  auto plan(context<Backend>& c, const saved& s) const { return routing_.plan(c, s.routing); }
  /// Of routers that plan groups, their plans (routing.hpp).
  plan_record<C> plans(context<Backend>& c, const saved& s) const
  requires(recipe.group_plan)
  {
    return routing_.plans(c, s.routing);
  }

  /// Parameters, parameters one unit meets, and MACs when every unit is served by K experts (mixtures: by all), or
  /// every slot of experts that pick units is taken; one unit then meets the mean number of experts, rounded up.
  static constexpr cost count(const config& c, index rows) {
    const index units = rows / c.unit_rows;
    const cost one = apply_type::count_one(c.expert_settings());
    const routing_config<Spec> r = c.routing_settings();
    return routing_type::count(r, units) + cost_of_experts<routing_type>(r, units, c.unit_rows, one) +
           cost::dense(0, 0, rows * c.out_cols());
  }

  /// What was chosen, in one line.
  std::string describe() const;

 private:
  static const config& checked(const config& c) {
    require(c.dim >= 1, "layer: dim is ", c.dim, ", it must be at least 1");
    require(!Spec::expert::head_of_classes || c.classes >= 1, "layer: a head expert needs classes, it is ", c.classes);
    require(Spec::expert::head_of_classes || c.classes == 0, "layer: classes is ", c.classes,
            ", but the expert is no head");
    require(c.unit_rows >= 1, "layer: unit_rows is ", c.unit_rows, ", it must be at least 1");
    require(Unit::block || c.unit_rows == 1, "layer: unit_rows is ", c.unit_rows, ", a token unit has 1 row");
    return c;
  }
  /// work(); what it throws then names this layer's recipe, as a refused launch knows its kernel and its grid alone.
  template <class Work>
  void named(Work work) const {
    try {
      work();
    } catch (const error& e) {
      throw error(std::string(e.what()) + "; in " + describe());
    }
  }

  config config_;
  routing_type routing_;
  apply_type apply_;
};

// Out of the class, so that these are not inline: an `extern template` (specs.hpp) then spares a program their
// instantiation, which is most of what a layer costs to compile.

template <class Spec, class Backend>
typename working_layer<Spec, Backend>::saved working_layer<Spec, Backend>::bind(binder<Backend>& b,
                                                                                index max_rows) const {
  require(max_rows >= 0, "layer: max_rows is ", max_rows, ", it must not be negative");
  const index units = ceil_div(max_rows, config_.unit_rows);
  saved s;
  s.routing = routing_.bind(b, units);
  const index group = config_.group_size ? config_.group_size : std::max<index>(units, 1);
  s.apply = apply_.bind(b, routing_.max_slots(units), units, ceil_div(std::max<index>(units, 1), group));
  if constexpr (Unit::block) {
    s.pooled = b.saved.template take<T>(units, config_.dim);
    s.d_pooled = b.saved.template take<T>(units, config_.dim);
  }
  return s;
}

template <class Spec, class Backend>
void working_layer<Spec, Backend>::refresh(context<Backend>& c) {
  routing_.refresh(c), apply_.refresh(c);
}

template <class Spec, class Backend>
void working_layer<Spec, Backend>::forward(context<Backend>& c, view<const T> x, view<T> y, saved& s) const {
  require(x.cols == config_.dim, "layer: x is ", shape_text(x), ", the layer was built for dim ", config_.dim);
  require(x.rows % config_.unit_rows == 0, "layer: x is ", shape_text(x), ", its rows are no multiple of unit_rows ",
          config_.unit_rows);
  require(x.rows <= s.routing.max_units * config_.unit_rows, "layer: x is ", shape_text(x), ", memory was bound for ",
          s.routing.max_units * config_.unit_rows, " rows");
  require(y.rows == x.rows && y.cols == out_cols(), "layer: y is ", shape_text(y), ", it should be [", x.rows, ", ",
          out_cols(), "]");
  named([&] {
    if constexpr (Unit::block) {
      const view<T> pooled = s.pooled.rows_at(0, x.rows / config_.unit_rows);
      pool_units<Unit>(c, x, config_.unit_rows, pooled);
      routing_.forward(c, pooled, s.routing);
    } else {
      routing_.forward(c, x, s.routing);
    }
    apply_.forward(c, x, s.routing.plan, y, s.apply);
  });
}

template <class Spec, class Backend>
void working_layer<Spec, Backend>::backward(context<Backend>& c, view<const T> dy, view<T> dx, saved& s) const {
  named([&] {
    view<T> dr = dx;
    if constexpr (Unit::block) dr = dx.ptr[0] ? s.d_pooled.rows_at(0, s.routing.plan.tokens) : view<T>{};
    routing_.open_backward(c, s.routing, dr, !Unit::block);
    apply_.backward(c, dy, s.routing.plan, s.routing.d_plan(), dx, s.apply);
    routing_.backward(c, dr, s.routing, !Unit::block);
    if constexpr (Unit::block) {
      if (dx.ptr[0]) spread_units<Unit, T>(c, dr, config_.unit_rows, dx);
    }
  });
}

template <class Spec, class Backend>
void working_layer<Spec, Backend>::commit(context<Backend>& c) {
  routing_.commit(c);
}

template <class Spec, class Backend>
std::string working_layer<Spec, Backend>::describe() const {
  std::ostringstream s;
  s << "layer: D=" << config_.dim << " H=" << config_.hidden << " E=" << config_.experts << " K=";
  s << detail::choices_text(Spec::router::k);
  s << ", unit " << policy_name<Unit>() << ", router " << policy_name<typename Spec::router>() << ", capacity "
    << policy_name<typename Spec::capacity>();
  if constexpr (recipe.capacity_binds) {
    const index group = config_.group_size ? config_.group_size : 0;
    s << " (overflow " << policy_name<typename Spec::capacity::overflow_policy>() << ", priority "
      << policy_name<typename Spec::capacity::priority_policy>();
    const index k = choices_of<typename Spec::router>;
    if (group) s << ", C=" << config_.capacity.slots({group, config_.experts, k, true}) << " of " << group;
    s << ")";
  }
  s << ", expert " << policy_name<typename Spec::expert>() << ", combine " << policy_name<typename Spec::combine>()
    << ", balance";
  using B = balance::as_sum<typename Spec::balance>;
  for (int i = 0; i < recipe.balance_terms; ++i)
    s << (i ? " + " : " ") << config_.balance.weight_of(i) << " " << B::name_of(i);
  if (recipe.balance_terms == 0) s << " none";
  s << "; " << plan_text(recipe.in_layout(config_.padded));
  if constexpr (recipe.mixes()) s << ' ' << routing_type::Kernel::matrices();
  s << ", products " << routing_type::Kernel::products() << " on backend " << Backend::name << ", exchange "
    << Spec::exchange::name;
  if constexpr (requires { routing_type::Kernel::launches(routing_.settings()); })
    s << ", router launches " << routing_type::Kernel::launches(routing_.settings());
  s << ", saved " << Spec::save::name << (recipe.keeps_output ? "" : " without outputs");
  if (const std::string how = apply_.describe_products(); !how.empty()) s << ", experts by " << how;
  return s.str();
}

}  // namespace detail

template <class Spec, class Backend>
  requires(support<Spec, Backend>() == verdict::ok)
class layer<Spec, Backend> : public detail::working_layer<Spec, Backend> {
 public:
  using detail::working_layer<Spec, Backend>::working_layer;
};

}  // namespace polymoe
