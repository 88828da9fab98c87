// The recipe against the layer that is made of it: what is said for each kind of router, that the bound layer and its
// describe() agree, and that outputs depend on other units, and places run out, just where the recipe says so.
#include "support/moe_layer.hpp"
#include "support/recipe.hpp"

namespace moe_test {
namespace {

using polymoe::combine_path;
using polymoe::cpu;
using polymoe::dispatch_path;
using polymoe::layer;
using polymoe::recipe;
using polymoe::route_path;
namespace overflow = polymoe::overflow;
namespace score = polymoe::score;

template <class Router, class Capacity = polymoe::capacity::unlimited, class Combine = polymoe::combine::affinity>
struct made_of : polymoe::spec {
  using scalar = double;
  using router = Router;
  using capacity = Capacity;
  using combine = Combine;
};
template <class Router, class... Rest>
using layer_of = layer<made_of<Router, Rest...>, cpu>;

using chosen = layer_of<polymoe::top_k<2>>;
using noisy = layer_of<polymoe::top_k<2, score::noisy_learned<>>, polymoe::capacity::bounded<>>;
using served = layer_of<polymoe::top_k<1>, polymoe::capacity::bounded<overflow::fallback>>;
using itself = layer_of<polymoe::top_k<1>, polymoe::capacity::bounded<overflow::identity>>;
using between = layer_of<polymoe::top_k<1>, polymoe::capacity::unlimited, polymoe::combine::interpolated>;
using picked = layer_of<polymoe::expert_choice<>>;
using picked_some = layer_of<polymoe::expert_choice<>, polymoe::capacity::bounded<>>;
using transported = layer_of<polymoe::top_k<2, score::sinkhorn<score::by_plan>>>;
using mixed = layer_of<polymoe::mixture<>>;
using mixed_by_plan = layer_of<polymoe::mixture<score::sinkhorn<score::by_plan>>>;
using mixed_beside_plan = layer_of<polymoe::mixture<score::sinkhorn<>>>;
using soft = layer_of<polymoe::soft_slots<polymoe::axis::batch>>;

constexpr recipe expected(route_path route, dispatch_path dispatch, combine_path combine) {
  recipe r;
  r.route = route, r.dispatch = dispatch, r.combine = combine;
  return r;
}
constexpr recipe with(recipe r, auto... members) {
  ((r.*members = true), ...);
  return r;
}
using enum route_path;
constexpr recipe by_rows =
    expected(row_per_lane_group, dispatch_path::gather_packed, combine_path::gather_fixed_stride);
constexpr recipe by_columns = expected(rows_then_columns, dispatch_path::gather_packed, combine_path::gather_list);
constexpr recipe all = expected(row_per_lane_group, dispatch_path::no_copy, combine_path::gather_fixed_stride);
constexpr recipe two_matrices(recipe r) {
  r.router_matrices = 2;
  return r;
}
constexpr recipe in_columns(recipe r) {
  r.route = rows_then_columns;
  return r;
}
static_assert(chosen::recipe == by_rows);
static_assert(noisy::recipe == two_matrices(with(by_rows, &recipe::capacity_binds, &recipe::noisy)));
static_assert(served::recipe == with(by_rows, &recipe::capacity_binds, &recipe::fallback));
static_assert(itself::recipe == with(by_rows, &recipe::capacity_binds, &recipe::unit_for_expert, &recipe::skip));
static_assert(between::recipe == with(by_rows, &recipe::skip));
static_assert(picked::recipe == by_columns);
static_assert(picked_some::recipe == with(by_columns, &recipe::capacity_binds));
static_assert(transported::recipe == with(in_columns(by_rows), &recipe::group_plan));
static_assert(mixed::recipe == all);
static_assert(mixed_by_plan::recipe == with(in_columns(all), &recipe::group_plan));
static_assert(mixed_beside_plan::recipe == with(in_columns(all), &recipe::group_plan));
static_assert(soft::recipe == expected(rows_then_columns, dispatch_path::matrix, combine_path::matrix));
// The CPU has one kind of product, so a wish for batched ones asks nothing of the plan.
struct wants_batched : made_of<polymoe::top_k<2>> {
  static constexpr auto products = polymoe::product_path::batched;
};
static_assert(layer<wants_batched, cpu>::recipe == by_rows);

template <class Layer>
typename Layer::config sizes(bool padded = false) {
  typename Layer::config c;
  c.dim = 5, c.hidden = 4, c.experts = 3, c.padded = padded;
  return c;
}
template <class Layer>
void compare_with_bound() {
  for (const bool padded : {false, true}) {
    layer_case<Layer> c(sizes<Layer>(padded), 12, 7);
    CHECK(recipe_test::recipe_lie(c.w) == "");
    c.forward();
    CHECK(recipe_test::recipe_lie(c.w) == "");
  }
}
/// Whether a unit's output is another one when the other units of its call are others.  Without noise.
template <class Layer>
bool depends_on_others() {
  layer_case<Layer> c(sizes<Layer>(), 12, 3);
  c.w.ctx().mode = polymoe::run_mode::eval;
  c.forward();
  const std::vector<double> first(c.y.get().row(0), c.y.get().row(0) + 5);
  for (index t = 1; t < 12; ++t)
    for (index i = 0; i < 5; ++i) c.x.put(t, i, 3 * c.x.at(t, i) + 1);
  c.forward();
  return !std::equal(first.begin(), first.end(), c.y.get().row(0));
}
/// Whether fewer choices are served when capacity is as small as it can be set; overflow counts as not served.
template <class Layer>
bool runs_out() {
  auto config = sizes<Layer>();
  if constexpr (requires { config.capacity.factor; }) config.capacity.factor = 0.1f;
  layer_case<Layer> c(config, 12, 5);
  c.forward();
  return Layer::recipe.picked() ? c.stats().placed < 12 * 3 : c.stats().placed < c.stats().choices;
}

}  // namespace

TEST_CASE("a recipe says what the bound layer has: layout, lists, fallback, noise, memory, text") {
  compare_with_bound<chosen>();
  compare_with_bound<noisy>();
  compare_with_bound<served>();
  compare_with_bound<itself>();
  compare_with_bound<between>();
  compare_with_bound<picked>();
  compare_with_bound<picked_some>();
  compare_with_bound<transported>();
  compare_with_bound<mixed>();
  compare_with_bound<mixed_by_plan>();
  compare_with_bound<mixed_beside_plan>();
  compare_with_bound<soft>();
  compare_with_bound<layer<wants_batched, cpu>>();
}

TEST_CASE("outputs depend on the other units of a call where the recipe has a phase over columns, and nowhere else") {
  CHECK(depends_on_others<chosen>() == chosen::recipe.columns());
  CHECK(depends_on_others<between>() == between::recipe.columns());
  CHECK(depends_on_others<mixed>() == mixed::recipe.columns());
  CHECK(depends_on_others<picked_some>() == picked_some::recipe.columns());
  CHECK(depends_on_others<transported>() == transported::recipe.columns());
  CHECK(depends_on_others<mixed_by_plan>() == mixed_by_plan::recipe.columns());
  CHECK(depends_on_others<soft>() == soft::recipe.columns());
}

TEST_CASE("places run out where the recipe says that capacity binds, and nowhere else") {
  CHECK(runs_out<chosen>() == chosen::recipe.capacity_binds);
  CHECK(runs_out<noisy>() == noisy::recipe.capacity_binds);
  CHECK(runs_out<served>() == served::recipe.capacity_binds);
  CHECK(runs_out<itself>() == itself::recipe.capacity_binds);
  CHECK(runs_out<picked>() == picked::recipe.capacity_binds);
  CHECK(runs_out<picked_some>() == picked_some::recipe.capacity_binds);
  CHECK(runs_out<transported>() == transported::recipe.capacity_binds);
  CHECK(runs_out<mixed>() == mixed::recipe.capacity_binds);
}

}  // namespace moe_test
