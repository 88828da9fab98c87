// One unit's row on the way back: the row as the forward left it, and its gradients from gate and balance gradients.
//
// Nothing is drawn or scored again, except where a policy's derivative needs it.
#pragma once

#include "route_row.hpp"

namespace polymoe::inline v0 {

/// The routed row from what forward kept: `noisy` is not looked at for routers that perturb nothing, `raw` as in
/// route_row.
template <class Router, class Row>
POLYMOE_HD routed_row<Row, choices_of<Router>> reloaded_row(const Router& router, const route_values& v,
                                                            const Row& logits, const Row& raw, const Row& noisy,
                                                            const Row& scores, const int* wish) {
  using S = typename Row::scalar;
  routed_row<Row, choices_of<Router>> r;
  r.logits = detail::prepared_logits(router, logits);
  if constexpr (perturbs_logits<Router, Row>) r.noisy = noisy;
  else r.noisy = r.logits;
  if constexpr (has_noise<Router, Row>)
    r.noise_std = router.noise_std(raw);
  else
    r.noise_std = logits.filled(S(0));
  const S inverse_tau(v.inverse_temperature);
  r.scaled = v.inverse_temperature == 1.0f ? r.noisy : r.noisy.map([=](S z, int) { return z * inverse_tau; });
  r.scores = scores;
  r.chosen.n = 0;
  if constexpr (Router::k >= 1) {
    r.chosen.n = Router::k;
    for (int j = 0; j < Router::k; ++j) r.chosen.expert[j] = wish[j];
  }
  return r;
}

/// Gradients of the projections: `g` holds what came through the gates; the balance losses add theirs from `cot`, their
/// cotangents of the group, where `balanced`.  `logits` is the row that was given, `target` its wanted expert.
template <class Router, class Balance, class Row, int K>
POLYMOE_HD row_vjp<Row> routed_row_vjp(const Router& router, const Balance& balance, const route_values& v,
                                       const routed_row<Row, K>& r, const Row& logits, const Row& raw, const Row* cot,
                                       bool balanced, row_grad<Row>& g, index unit, int target = -1) {
  const bool clean = Balance::columns > 0 && balanced && Balance::needs_clean_scores;
  if constexpr (Balance::columns > 0) {
    if (balanced) {
      const Row clean_scores = clean ? clean_scores_of(router, v, r) : r.scores;
      balance.add_grad(make_row_info<Balance>(r, clean_scores, target), cot, g);
    }
  }
  return route_row_vjp(router, v, r, logits, raw, g, clean, unit);
}

}  // namespace polymoe
