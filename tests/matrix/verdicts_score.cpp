// Verdicts on routers with every score, and with linear maps around them.
#include "verdict_table.hpp"

namespace matrix {
namespace {

/// A router in a layer of little else; most go with a capacity that drops, which does more than none.
constexpr point simple(int router, bool bounded) {
  return {router,
          bounded ? capacity_values::drop : capacity_values::unlimited,
          priority_values::position,
          unit_values::token,
          expert_values::mlp,
          combine_values::affinity,
          balance_values::none,
          scalar_values::f64,
          save_values::everything,
          backend_values::on_cpu};
}
template <int Router>
inline constexpr bool bounded = detail::ask<simple(Router, true)>() == verdict::ok;

template <int Router, int... I>
constexpr bool on_axis(std::integer_sequence<int, I...>) {
  using type = typename value<dimension::router, Router>::type;
  return ((value<dimension::router, I>::appears.tests &&
           std::is_same_v<typename value<dimension::router, I>::type, type>) ||
          ...);
}

template <int T, int S>
scored_verdict ask_score() {
  constexpr int router = scored_router(T, S);
  // A loss, so that a gradient arrives from there too.
  constexpr point p = detail::with(simple(router, bounded<scored_router(T, score_values::softmax)>), dimension::balance,
                                   balance_values::importance);
  return {detail::ask<p>(), on_axis<router>(std::make_integer_sequence<int, router_values::count>{}), p};
}
const std::vector<scored_verdict>& score_table() {
  static const auto table = []<int... I>(std::integer_sequence<int, I...>) {
    return std::vector<scored_verdict>{ask_score<I / score_values::count, I % score_values::count>()...};
  }
  (std::make_integer_sequence<int, int(template_values::count) * score_values::count>{});
  return table;
}

template <int Router, int Map>
struct with_map : detail::spec_of<simple(Router, bounded<Router>)>::type {
  using router = typename linear_map<Map, typename value<dimension::router, Router>::type>::type;
};
constexpr int mapped = static_cast<int>(std::size(mapped_routers));
const std::vector<verdict>& map_table() {
  static const auto table = []<int... I>(std::integer_sequence<int, I...>) {
    constexpr int n = linear_map_values::count;
    return std::vector<verdict>{support<with_map<mapped_routers[I / n], I % n>, cpu>()...};
  }
  (std::make_integer_sequence<int, mapped * linear_map_values::count>{});
  return table;
}

}  // namespace

scored_verdict verdict_on_score(int t, int s) {
  return score_table().at(static_cast<std::size_t>(t * score_values::count + s));
}
verdict verdict_on_map(int i, int m) {
  return map_table().at(static_cast<std::size_t>(i * linear_map_values::count + m));
}

}  // namespace matrix
