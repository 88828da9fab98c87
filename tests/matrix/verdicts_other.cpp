// Verdicts on pairs without a router, and on values alone.
#include "verdict_table.hpp"

namespace matrix::detail {

void fill_other_pairs(pair_table& t) {
  [&]<int... D>(std::integer_sequence<int, D...>) { (ask_after<static_cast<dimension>(D + 1)>(t), ...); }
  (std::make_integer_sequence<int, dimensions - 2>{});
}

namespace {
template <dimension A>
void ask_axis_alone(pair_table& t) {
  [&]<int... I>(std::integer_sequence<int, I...>) {
    (ask_alone<A, I>(t, std::make_integer_sequence<int, ways>{}), ...);
  }
  (std::make_integer_sequence<int, sizes[static_cast<int>(A)]>{});
}
}  // namespace

void fill_alone(pair_table& t) {
  [&]<int... D>(std::integer_sequence<int, D...>) { (ask_axis_alone<static_cast<dimension>(D)>(t), ...); }
  (std::make_integer_sequence<int, dimensions>{});
}

}  // namespace matrix::detail
