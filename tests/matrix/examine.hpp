// One test body for every composition: forward against the dense expansion of its plan, in double every gradient
// against central differences, with capacities that bind and balance losses that weigh.
//
// A composition compiles its own layer and a thin `subject` around it; everything else is compiled once, in
// examine_test.cpp.
#pragma once

#include <memory>
#include <numeric>

#include "support/moe_layer.hpp"

#include "axes.hpp"

namespace matrix {

using moe_test::named;
using moe_test::tensor;

/// A plan as matrices in double, whatever it was made as.
struct spelled_plan {
  int tokens = 0, group_size = 0, capacity = 0;
  index slots = 0;                        ///< columns
  std::vector<double> dispatch, combine;  ///< [tokens, slots]
  std::vector<double> skip;               ///< [tokens], or empty
  std::string violation;                  ///< of a sparse plan's promises; empty is good
};

/// What a test body has to know of a composition besides its numbers.
struct composition_facts {
  std::string name;
  int expert = 0;  ///< its number on the axis
  int dim = 0, hidden = 0, out = 0, unit_rows = 0;
  double tolerance = 0;  ///< of the output, norm over norm
  bool binds = false, picked = false;
};

/// A layer behind a small interface.
class subject {
 public:
  composition_facts facts;

  virtual ~subject() = default;
  virtual void run() = 0;  ///< forward
  virtual named parameters() = 0;
  virtual const polymoe::routing_stats& stats() = 0;
  virtual spelled_plan plan() = 0;
  virtual std::vector<double> x() = 0;
  virtual std::vector<double> y() = 0;
};

/// One in double: it can go back, and be moved.
class subject_in_double {
 public:
  virtual ~subject_in_double() = default;
  virtual void forward() = 0;
  virtual void backward() = 0;
  virtual double objective() = 0;
  virtual void refresh() = 0;
  virtual const std::vector<polymoe::param_entry>& entries() = 0;
  virtual view<double> values() = 0;
  virtual view<double> grads() = 0;
  virtual tensor<double>& input() = 0;
  virtual const tensor<double>& input_gradient() = 0;
  virtual const polymoe::sparse_plan<double>& decided() = 0;  ///< an empty one where nothing is decided
};

/// The identifiers of a composition's values.
inline std::string text_of_numbers(const point& p) {
  static const std::vector<std::vector<const char*>> names = {
#define MATRIX_TEXT(A, id, where, ...) #id,
#define MATRIX_TEXTS(A, list, prefix) {list(MATRIX_TEXT, A)},
      MATRIX_AXES(MATRIX_TEXTS)
#undef MATRIX_TEXTS
#undef MATRIX_TEXT
  };
  std::string s = p[0] < router_values::count ? names[0][static_cast<std::size_t>(p[0])]
                                              : scored_routers[p[0] - router_values::count];
  for (std::size_t d = 1; d + 1 < p.size(); ++d) s += std::string(", ") + names[d][static_cast<std::size_t>(p[d])];
  return s;
}
/// The test body.
void examine(subject& s, subject_in_double* gradients);

namespace detail {

/// Every loss weighs, those that adapt too.
inline void weigh(polymoe::balance::sum<>&) {}
template <class First, class... Rest>
void weigh(polymoe::balance::sum<First, Rest...>& s) {
  if constexpr (requires {
                  s.first.target;
                  s.first.first;
                }) {
    s.first.weight = 8, s.first.first = 0.75f, s.first.target = 2;
  } else {
    s.first.weight = 1.5f;
  }
  weigh(s.rest);
}

inline constexpr index experts = 5, dim = 4, hidden = 4, classes = 3;

/// `table` lies in the memory of the layer's backend.
template <class Layer>
typename Layer::config config_of(index units, const int* table) {
  using Spec = typename Layer::spec;
  using Router = typename Spec::router;
  typename Layer::config c;
  c.dim = dim, c.hidden = hidden, c.experts = experts;
  c.classes = Spec::expert::head_of_classes ? classes : 0;
  c.unit_rows = Spec::unit::block ? 4 : 1;
  // Soft MoE wants whole images, or the batch; for all others the last group is smaller.
  c.group_size = 6;
  if constexpr (Router::k == polymoe::mixed_into_slots) {
    c.router.slots = 2;
    if constexpr (std::is_same_v<typename Router::axis, polymoe::axis::batch>)
      c.group_size = 0;
    else
      c.group_size = units % 2 ? units / 3 : units / 2;
  }
  if constexpr (Spec::capacity::limited) {
    c.capacity.factor = Router::k == polymoe::picked_by_experts ? 1.2f : 0.6f;
    c.padded = std::accumulate(Spec::numbers.begin(), Spec::numbers.end(), 0) % 2 == 0;
  }
  if constexpr (requires { c.router.ids; }) c.router.ids = table;
  if constexpr (requires { c.router.period; }) c.router.period = 5;
  if constexpr (requires { c.router.iterations; }) c.router.iterations = 5;
  // Gates of a transport plan have the gradient of the plan that Newton is after, so it has to get there: with two
  // cells a unit there is one only in groups of no fewer units than experts.
  if constexpr (requires { requires Router::weighs_plan && Router::plan_has_gradient; }) {
    c.router.iterations = 50, c.router.tolerance = 1e-12f;
    if constexpr (Router::k >= 1) c.group_size = units % 2 ? units : units / 2;
    // One cell a unit has no even sums unless E divides the units.
    if constexpr (Router::k == 1) c.router.nonzeros = Router::everything;
  }
  weigh(c.balance);
  return c;
}

template <class Spec>
class layer_subject : public subject {
 public:
  using Layer = polymoe::layer<Spec, polymoe::cpu>;
  using T = typename Spec::scalar;
  using C = polymoe::compute_t<T>;
  static constexpr index units = Spec::unit::block ? 9 : 14;
  static constexpr bool slots = Spec::router::k == polymoe::mixed_into_slots;

  layer_subject()
      : table_(table_of_units()),
        c(config_of<Layer>(units, table_.data()), units * (Spec::unit::block ? 4 : 1), seed()) {
    facts.name = text_of_numbers(Spec::numbers);
    facts.expert = Spec::numbers[static_cast<int>(dimension::expert)];
    const auto& config = c.w.module().settings();
    facts.dim = static_cast<int>(config.dim), facts.hidden = static_cast<int>(config.hidden);
    facts.out = static_cast<int>(c.w.module().out_cols()), facts.unit_rows = static_cast<int>(config.unit_rows);
    facts.picked = Spec::router::k == polymoe::picked_by_experts;
    facts.binds = Spec::capacity::limited;
    using R = polymoe::real_t<T>;
    facts.tolerance = std::is_same_v<R, double> ? 1e-12 : std::is_same_v<R, float> ? 1e-5 : 3e-2;
    c.w.step().temperature = 1.25f;
    c.w.ctx().targets = table_.data();
    // A selection bias that nobody has moved yet would say nothing.
    for (const auto& e : c.w.state_entries())
      if (e.name == "router.bias")
        for (index i = 0; i < e.size; ++i)
          c.w.state()[static_cast<std::size_t>(e.offset + i)] =
              static_cast<float>(0.05 * moe_test::noise(9, static_cast<std::uint64_t>(i)));
  }
  void run() override { c.forward(); }
  named parameters() override { return moe_test::values_of(c.w); }
  const polymoe::routing_stats& stats() override { return c.stats(); }
  spelled_plan plan() override {
    if constexpr (slots)
      return spell(c.plan());
    else {
      spelled_plan p = spell(polymoe::expand(c.plan()));
      for (index t = 0; c.plan().skip.ptr[0] && t < units; ++t)
        p.skip.push_back(moe_test::as_double(c.plan().skip.get(0, t)));
      p.violation = polymoe::plan_violation(c.plan());
      return p;
    }
  }
  std::vector<double> x() override { return numbers(c.x); }
  std::vector<double> y() override { return numbers(c.y); }

 protected:
  static std::vector<double> numbers(const tensor<T>& t) {
    std::vector<double> v;
    for (const auto& n : t.plane[0]) v.push_back(moe_test::as_double(n));
    return v;
  }
  static spelled_plan spell(const polymoe::dense_plan<C>& d) {
    spelled_plan p;
    p.tokens = d.tokens, p.group_size = d.group_size, p.capacity = d.capacity, p.slots = d.dispatch.cols;
    for (index t = 0; t < d.tokens; ++t)
      for (index s = 0; s < p.slots; ++s) {
        p.dispatch.push_back(moe_test::as_double(d.dispatch.get(t, s)));
        p.combine.push_back(moe_test::as_double(d.combine.get(t, s)));
      }
    return p;
  }
  /// Experts of units for routers and losses that are told them.
  static std::vector<int> table_of_units() {
    std::vector<int> v;
    for (int u = 0; u < units; ++u) v.push_back(u * u % static_cast<int>(experts));
    return v;
  }
  static std::uint64_t seed() {
    std::uint64_t s = 7;
    for (const int n : Spec::numbers) s = s * 31 + static_cast<std::uint64_t>(n);
    return s;
  }

  std::vector<int> table_;

 public:
  moe_test::layer_case<Layer> c;
};

template <class Spec>
class double_subject : public layer_subject<Spec>, public subject_in_double {
 public:
  using layer_subject<Spec>::c;
  void forward() override { c.forward(); }
  void backward() override { c.backward(); }
  double objective() override { return c.objective(); }
  void refresh() override { c.w.refresh(); }
  const std::vector<polymoe::param_entry>& entries() override { return c.w.entries(); }
  view<double> values() override { return c.w.values(); }
  view<double> grads() override { return c.w.grads(); }
  tensor<double>& input() override { return c.x; }
  const tensor<double>& input_gradient() override { return c.dx; }
  const polymoe::sparse_plan<double>& decided() override {
    static const polymoe::sparse_plan<double> nothing{};
    if constexpr (layer_subject<Spec>::slots)
      return nothing;
    else
      return c.plan();
  }
};

template <class Spec>
void examine_one() {
  if constexpr (std::is_same_v<typename Spec::scalar, double>) {
    double_subject<Spec> s;
    examine(s, &s);
  } else {
    layer_subject<Spec> s;
    examine(s, nullptr);
  }
}

}  // namespace detail

/// The spec of one line of a list of compositions, with a comma behind it.
#define MATRIX_SPEC(r, cap, p, u, e, c, b, s, v)                                                       \
  matrix::composed<matrix::router_values::r, matrix::capacity_values::cap, matrix::priority_values::p, \
                   matrix::unit_values::u, matrix::expert_values::e, matrix::combine_values::c,        \
                   matrix::balance_values::b, matrix::scalar_values::s, matrix::save_values::v>,

/// Examines the elements of a tuple of specs (the last element, void, is no spec).
template <class List>
void examine_all() {
  [&]<std::size_t... I>(std::index_sequence<I...>) { (detail::examine_one<std::tuple_element_t<I, List>>(), ...); }
  (std::make_index_sequence<std::tuple_size_v<List> - 1>{});
}

}  // namespace matrix
