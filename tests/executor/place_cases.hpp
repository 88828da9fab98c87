// Places by every priority against the CPU backend: what the tests of the overflow policies share.
#pragma once

#include "route_harness.hpp"

namespace route_test {
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;

/// Sigmoid scores: each is made of its own logit alone, so whole logits give ties that are ties on both backends.
template <int K, class Overflow, class Priority>
struct placed : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<K, polymoe::score::sigmoid>;
  using capacity = polymoe::capacity::bounded<Overflow, Priority>;
  // With one choice a renormalised weight is always 1.
  using combine = std::conditional_t<K == 1, polymoe::combine::affinity,
                                     polymoe::combine::renormalised<polymoe::combine::over_kept>>;
};
template <int K>
struct dropless : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<K>;
};

template <class Spec, bool Backward>
tally place_cases(int K, bool long_list) {
  tally n;
  for (const inputs kind : {inputs::random, inputs::ties, inputs::hot, inputs::bad})
    for (const int E : {K, K + 3, 31}) {
      if (E == 31 && (kind == inputs::ties || kind == inputs::hot)) continue;
      const auto seed = static_cast<std::uint64_t>(E) + 10 * static_cast<std::uint64_t>(kind);
      check<Spec, 32, Backward>({.T = 130,
                                 .E = E,
                                 .padded = E % 2 == 0,
                                 .factor = 0.8f,
                                 .kind = kind,
                                 .seed = seed,
                                 .repeat = kind == inputs::ties},
                                n);
      check<Spec, 32, Backward>({.T = 71,
                                 .E = E,
                                 .group_size = 20,
                                 .padded = E % 2 != 0,
                                 .factor = 0.6f,
                                 .kind = kind,
                                 .seed = seed,
                                 .repeat = kind != inputs::random},
                                n);
    }
  for (const int T : {0, 1, 63, 65})
    check<Spec, 32, Backward>({.T = T, .E = 8, .group_size = T > 1 ? T - 1 : 0, .absolute = 2, .seed = 3}, n);
  check<Spec, 32, Backward>({.T = 65, .E = 9, .absolute = 0, .seed = 4}, n);
  for (const run_mode mode : {run_mode::train, run_mode::eval})
    check<Spec, 32, Backward>(
        {.T = 65, .E = 9, .padded = true, .absolute = 3, .eval_absolute = 5, .mode = mode, .seed = 6}, n);
  if (long_list) check<Spec, 32, Backward>({.T = 700, .E = 8, .D = 3, .factor = 0.9f, .seed = 5, .repeat = false}, n);
  return n;
}
/// Runs the list of cases by every priority and checks that what was to be tested has happened.
template <class Overflow, int K>
void every_priority() {
  const bool moves = Overflow::rounds > 0;
  const bool serves = Overflow::value == overflow::kind::fallback || Overflow::value == overflow::kind::identity;
  // Gradients follow the plan, whatever order it was made in.
  for (const tally& n : {place_cases<placed<K, Overflow, priority::position>, true>(K, true),
                         place_cases<placed<K, Overflow, priority::gate>, false>(K, K > 1),
                         place_cases<placed<K, Overflow, priority::probability>, false>(K, K > 1)}) {
    CHECK((n.moved > 20) == moves);
    CHECK((n.overflow > 100) == serves);
    CHECK((n.dropped > 20) == !serves);
  }
}
}  // namespace route_test
