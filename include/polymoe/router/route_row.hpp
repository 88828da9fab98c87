// One unit through the router, forward and backward: the same text for the CPU loop and the CUDA kernel.
//
// logits -> (prepare) -> (+ noise) -> (dropout) -> / temperature -> scores -> (+ selection bias) -> choice.  The caller
// loads rows and stores results; everything between is here, and policies are called directly so that a policy that
// forgot POLYMOE_HD is named in the compiler's error.
#pragma once

#include "../balance/balance.hpp"
#include "../core/rng.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

/// True when the router adds noise to its logits in training.
template <class Router, class Row>
concept has_noise = requires(const Router r, Row z) { r.noise_std(z); };
/// True when the router changes its logits before anything else sees them: prepare(logits), prepare_vjp(logits, d).
template <class Router, class Row>
concept prepares_logits = requires(const Router r, Row z) { r.prepare(z); };
/// True when the router drops logits in training: `dropout` is the probability.
template <class Router>
concept drops_logits = requires(const Router r) { r.dropout; };
/// True when training routes other logits than it was given, and has to keep them for backward.
template <class Router, class Row>
concept perturbs_logits = has_noise<Router, Row> || drops_logits<Router>;
/// Number of router matrices: 2 when the noise deviation is learned.
template <class Router>
inline constexpr int projections = [] {
  if constexpr (requires { Router::projections; }) return int(Router::projections);
  else return 1;
}();
/// True when the router's matrices have biases (with_bias.hpp).
template <class Router>
inline constexpr bool has_projection_bias = requires { requires bool(Router::projection_bias); };
/// Choices held per unit: K, or 1 for routers that do not choose K experts per unit (unused there).
template <class Router>
inline constexpr int choices_of = Router::k >= 1 ? Router::k : 1;

/// Run-time values of one routing call that are the same for all rows.
struct route_values {
  float inverse_temperature = 1;
  float noise = 0;               ///< multiplies the deviation; 0 in evaluation
  random_stream draw{};
  const float* bias = nullptr;   ///< [E], added to scores for the selection only
};

template <class Row, int K>
struct routed_row {
  Row logits;  ///< after prepare
  Row noisy;   ///< after noise and dropout
  Row noise_std, scaled;
  Row scores;  ///< of `scaled`; of the clean logits for routers that weigh those
  choice<K> chosen;
  bool finite = true;
};

namespace detail {
template <class Router, class Row>
POLYMOE_HD Row prepared_logits(const Router& router, const Row& logits) {
  if constexpr (prepares_logits<Router, Row>) return router.prepare(logits);
  else return logits;
}
/// The clean logits over the temperature.
template <class Row>
POLYMOE_HD Row clean_scaled(const route_values& v, const Row& clean) {
  using S = typename Row::scalar;
  const S inverse_tau(v.inverse_temperature);
  return clean.map([=](S z, int) { return z * inverse_tau; });
}
/// The row of `unit` with each element 0 or times 1 / (1 - p).  Noise counts its draws from 0, dropout from 2^63.
template <class Router, class Row>
POLYMOE_HD Row dropped(const Router& router, const route_values& v, const Row& x, index unit) {
  using S = typename Row::scalar;
  const float p = router.dropout;
  const S scale = S(1) / (S(1) - S(p));
  return x.map([&](S z, int e) {
    const auto at = static_cast<std::uint64_t>(unit * x.n + e) | std::uint64_t{1} << 63;
    return v.draw.uniform(at) < p ? S(0) : z * scale;
  });
}
}  // namespace detail
/// The router's choice; a router that wants to know the number of the unit gets it.
template <class Router, class Row>
POLYMOE_HD choice<choices_of<Router>> chosen_by(const Router& router, const Row& scores, [[maybe_unused]] index unit) {
  if constexpr (requires { router.select(scores, unit); }) return router.select(scores, unit);
  else return router.select(scores);
}

/// `raw` is the row of the second projection; pass `logits` again when there is one projection only.
template <class Router, class Row>
POLYMOE_HD routed_row<Row, choices_of<Router>> route_row(const Router& router, const route_values& v, const Row& logits,
                                                         const Row& raw, index unit) {
  using S = typename Row::scalar;
  routed_row<Row, choices_of<Router>> r;
  r.logits = detail::prepared_logits(router, logits);
  r.noisy = r.logits;
  r.finite = r.logits.finite();
  if constexpr (has_noise<Router, Row>) {
    r.noise_std = router.noise_std(raw);
    if (projections<Router> > 1) r.finite = r.finite && raw.finite();
    if (v.noise != 0) {
      r.noisy = r.logits.zip(r.noise_std, [&](S z, S s, int e) {
        return z + s * S(v.noise * v.draw.normal(static_cast<std::uint64_t>(unit * logits.n + e)));
      });
    }
  } else {
    r.noise_std = logits.filled(S(0));
  }
  if constexpr (drops_logits<Router>)
    if (v.noise != 0) r.noisy = detail::dropped(router, v, r.noisy, unit);
  const S inverse_tau(v.inverse_temperature);
  r.scaled = v.inverse_temperature == 1.0f ? r.noisy : r.noisy.map([=](S z, int) { return z * inverse_tau; });
  if constexpr (weighs_clean_scores<Router>) {
    // The plan reads the noisy logits, which no score vouches for.
    r.finite = r.finite && r.scaled.finite();
    r.scores = router.scores(detail::clean_scaled(v, r.logits));
  } else {
    r.scores = router.scores(r.scaled);
  }
  if constexpr (chooses_in_rows<Router>) {
    if (v.bias) {
      const float* b = v.bias;
      r.chosen = chosen_by(router, r.scores.map([=](S s, int e) { return s + S(b[e]); }), unit);
    } else {
      r.chosen = chosen_by(router, r.scores, unit);
    }
  } else {
    r.chosen.n = 0;
  }
  return r;
}

/// Builds what balance losses see.  Thresholds are found only for losses that ask for them.
template <class Balance, int K, class Row>
POLYMOE_HD row_info<Row, K> make_row_info(const routed_row<Row, K>& r, const Row& clean_scores, int target = -1) {
  row_info<Row, K> info{r.logits, r.noisy, r.scores, clean_scores, r.noise_std, r.chosen};
  info.target = target;
  if constexpr (Balance::needs_threshold) {
    if (r.logits.n > K) {
      const choice<K + 1> top = largest<K + 1>(r.noisy);
      info.next = top.expert[K];
      info.next_value = r.noisy.at(info.next);
      info.kth = top.expert[K - 1];
    } else {
      const choice<K> top = largest<K>(r.noisy);
      info.kth = top.expert[top.n - 1];
    }
    info.kth_value = r.noisy.at(info.kth);
  }
  return info;
}

/// Scores of the clean logits: the same row when nothing was added.
template <class Router, class Row, int K>
POLYMOE_HD Row clean_scores_of(const Router& router, const route_values& v, const routed_row<Row, K>& r) {
  if constexpr (perturbs_logits<Router, Row> && !weighs_clean_scores<Router>)
    if (v.noise != 0) return router.scores(detail::clean_scaled(v, r.logits));
  return r.scores;
}

/// How decided a unit is: entropy of its scores (normalised to sum 1), and best score minus second best.
template <class S>
struct row_decision {
  S entropy, margin;
};
template <class Row>
POLYMOE_HD row_decision<typename Row::scalar> decision_of(const Row& scores) {
  using S = typename Row::scalar;
  row_decision<S> d{S(0), S(0)};
  const S sum = scores.sum();
  const S weighted = scores.sum([](S s, int) { return s > S(0) ? s * math::log(s) : S(0); });
  // H = log(sum) - (1 / sum) sum_e s log s.
  if (sum > S(0)) d.entropy = math::log(sum) - weighted / sum;
  if (scores.n > 1) {
    const S best = scores.max();
    const int at = scores.index_of(best);
    d.margin = best - scores.map([=](S s, int e) { return e == at ? S(-1e30f) : s; }).max();
  }
  return d;
}

/// Gradients of the two projections of one unit.
template <class Row>
struct row_vjp {
  Row logits, raw;
};

/// `g` holds the gradients that gates and balance losses gave; `logits` and `raw` as in route_row.
template <class Router, class Row, int K>
POLYMOE_HD row_vjp<Row> route_row_vjp(const Router& router, const route_values& v, const routed_row<Row, K>& r,
                                      const Row& logits, const Row& raw, const row_grad<Row>& g, bool use_clean_scores,
                                      index unit) {
  using S = typename Row::scalar;
  const S inverse_tau(v.inverse_temperature);
  Row d_scores = g.scores;
  row_vjp<Row> out;
  out.logits = g.logits;
  if (use_clean_scores) {
    bool noisy = false;
    if constexpr (perturbs_logits<Router, Row> && !weighs_clean_scores<Router>) noisy = v.noise != 0;
    if (noisy)
      out.logits.add_scaled(inverse_tau, router.vjp(detail::clean_scaled(v, r.logits), g.clean_scores));
    else
      d_scores.add(g.clean_scores);
  }
  Row d_noisy = g.noisy;
  if constexpr (weighs_clean_scores<Router>)
    out.logits.add_scaled(inverse_tau, router.vjp(detail::clean_scaled(v, r.logits), d_scores));
  else
    d_noisy.add_scaled(inverse_tau, router.vjp(r.scaled, d_scores));
  if constexpr (drops_logits<Router>)
    if (v.noise != 0) d_noisy = detail::dropped(router, v, d_noisy, unit);
  out.logits.add(d_noisy);
  out.raw = out.logits.filled(S(0));
  if constexpr (requires(const Router q, Row z) { q.noise_vjp(z, z); }) {
    Row d_std = g.noise_std;
    if (v.noise != 0) {
      const int n = raw.n;
      d_std.add(d_noisy.map([&](S d, int e) {
        return d * S(v.noise * v.draw.normal(static_cast<std::uint64_t>(unit * n + e)));
      }));
    }
    out.raw = router.noise_vjp(raw, d_std);
  }
  if constexpr (prepares_logits<Router, Row>) out.logits = router.prepare_vjp(logits, out.logits);
  else (void)logits;
  return out;
}

}  // namespace polymoe
