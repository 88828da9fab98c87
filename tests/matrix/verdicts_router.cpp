// Verdicts on routers with every value of every other axis.
#include "verdict_table.hpp"

void matrix::detail::fill_router_pairs(pair_table& t) { ask_after<dimension::router>(t); }
