// Balance losses: the contract, the row they see, and their sum.
//
// A balance loss works in two phases.  First `partial` adds this row's share to `columns` rows of sums; the library
// reduces them over the units of a group in a fixed order.  Then, per group, `value` makes the loss out of the totals,
// `cotangent` its gradient with respect to the totals, and `add_grad` brings that back to one row.  The total loss is
// the mean over groups, times the weight, times step_state::balance.
//
//   static constexpr int columns            rows of sums it needs
//   float weight                            a run-time value
//   partial(info, acc)                      acc[i].add(row)
//   value(totals, experts, units)           totals[i * experts + e]
//   cotangent(totals, experts, units, out)  out[i * experts + e] = d value / d total
//   add_grad(info, cot, grad)               cot[i] is a row, already scaled
// Optional members: needs_noise (refused for routers without noise), needs_choice (refused for mixtures),
// needs_threshold (implies needs_choice), needs_clean_scores, needs_target, has_bias, adapts (relu_l1.hpp),
// validate(experts) (throws where its own values make no sense; that weights are finite is checked for all).
#pragma once

#include "../core/error.hpp"
#include "../core/row.hpp"

namespace polymoe::inline v0 {

/// What a balance loss sees of one routed unit.
template <class Row, int K>
struct row_info {
  using scalar = typename Row::scalar;
  const Row& logits;        ///< without noise
  const Row& noisy;         ///< with noise; equal to logits when there is none
  const Row& scores;        ///< router scores of the noisy logits
  const Row& clean_scores;  ///< router scores of the logits
  const Row& noise_std;     ///< standard deviation of the noise per expert; zero when there is none
  const choice<K>& chosen;  ///< wishes, before capacity
  int kth = 0;              ///< expert with the K-th largest noisy logit
  int next = -1;            ///< expert with the (K+1)-th largest, -1 when K = E
  scalar kth_value{};       ///< their noisy logits
  scalar next_value{};
  int target = -1;  ///< wanted expert (context::targets), -1 when there is none
};

/// Where a balance loss puts its gradients for one unit.
template <class Row>
struct row_grad {
  Row scores;        ///< of the scores of the noisy logits
  Row clean_scores;  ///< of the scores of the clean logits
  Row logits;        ///< of the clean logits
  Row noisy;         ///< of the noisy logits
  Row noise_std;
};

namespace balance {

namespace detail {
template <class L>
inline constexpr bool needs_noise = requires { requires bool(L::needs_noise); };
template <class L>
inline constexpr bool needs_threshold = requires { requires bool(L::needs_threshold); };
template <class L>
inline constexpr bool needs_choice = [] {
  if constexpr (requires { L::needs_choice; }) return bool(L::needs_choice);
  else return needs_threshold<L>;
}();
template <class L>
inline constexpr bool needs_clean_scores = requires { requires bool(L::needs_clean_scores); };
template <class L>
inline constexpr bool needs_target = requires { requires bool(L::needs_target); };
template <class L>
inline constexpr bool adapts = requires { requires bool(L::adapts); };
template <class L>
inline constexpr bool has_bias = requires { requires bool(L::has_bias); };

/// Squared coefficient of variation, variance (population) over squared mean.  Never through a square root: its
/// gradient at perfect balance would be NaN.  0 when the mean is 0.
template <class S>
POLYMOE_HD S squared_cv(const S* x, int n) {
  S mean(0);
  for (int e = 0; e < n; ++e) mean += x[e];
  mean = mean / S(static_cast<float>(n));
  if (value_of(mean) == 0) return S(0);
  S var(0);
  for (int e = 0; e < n; ++e) var += (x[e] - mean) * (x[e] - mean);
  return var / S(static_cast<float>(n)) / (mean * mean);
}
template <class S>
POLYMOE_HD void squared_cv_grad(const S* x, int n, S* out) {
  const S count(static_cast<float>(n));
  S mean(0);
  for (int e = 0; e < n; ++e) mean += x[e];
  mean = mean / count;
  if (value_of(mean) == 0) {
    for (int e = 0; e < n; ++e) out[e] = S(0);
    return;
  }
  const S cv2 = squared_cv(x, n);
  for (int e = 0; e < n; ++e) out[e] = S(2) / (count * mean) * ((x[e] - mean) / mean - cv2);
}

/// What losses share whose value is the squared coefficient of variation of one sum per expert.
struct squared_cv_loss {
  static constexpr int columns = 1;
  template <class S>
  POLYMOE_HD S value(const S* totals, int experts, index) const {
    return squared_cv(totals, experts);
  }
  template <class S>
  POLYMOE_HD void cotangent(const S* totals, int experts, index, S* out) const {
    squared_cv_grad(totals, experts, out);
  }
};

/// What losses share that are scale(E) sum_e (T_e / m) (P_e / m): T a count of the group (column 0, no gradient), P the
/// sum of scores (column 1), m the units.
struct count_times_score {
  static constexpr int columns = 2;
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row* cot, Grad& g) const {
    g.scores.add(cot[1]);
  }

 protected:
  template <class S>
  POLYMOE_HD static S scaled_value(const S* totals, int experts, index units, S scale) {
    const S n(static_cast<float>(units));
    S s(0);
    for (int e = 0; e < experts; ++e) s += totals[e] / n * (totals[experts + e] / n);
    return s * scale;
  }
  template <class S>
  POLYMOE_HD static void scaled_cotangent(const S* totals, int experts, index units, S scale, S* out) {
    const S n(static_cast<float>(units));
    for (int e = 0; e < experts; ++e) {
      out[e] = S(0);
      out[experts + e] = scale * totals[e] / (n * n);
    }
  }
};
/// ... with scale E: 1 when both are uniform.
struct uniform_is_one : count_times_score {
  template <class S>
  POLYMOE_HD S value(const S* totals, int experts, index units) const {
    return scaled_value(totals, experts, units, S(static_cast<float>(experts)));
  }
  template <class S>
  POLYMOE_HD void cotangent(const S* totals, int experts, index units, S* out) const {
    scaled_cotangent(totals, experts, units, S(static_cast<float>(experts)), out);
  }
};
}  // namespace detail

/// No balance loss.
struct none {
  static constexpr const char* name = "none";
  static constexpr int columns = 0;
  float weight = 0;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info&, Row*) const {}
  template <class S>
  POLYMOE_HD S value(const S*, int, index) const {
    return S(0);
  }
  template <class S>
  POLYMOE_HD void cotangent(const S*, int, index, S*) const {}
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row*, Grad&) const {}
};

/// Several losses at once; they share one pass.  get<L>().weight = x sets a weight.
template <class... Losses>
struct sum;

template <>
struct sum<> {
  static constexpr int columns = 0;
  static constexpr int terms = 0;
  static constexpr bool needs_noise = false, needs_threshold = false, needs_choice = false,
                        needs_clean_scores = false, needs_target = false, has_bias = false, adapts = false;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info&, Row*) const {}
  template <class S>
  POLYMOE_HD void values(const S*, int, index, S*) const {}
  template <class S>
  POLYMOE_HD void cotangents(const S*, int, index, S, S*) const {}
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row*, Grad&) const {}
  void validate(int) const {}
  float weight_of(int) const { return 0; }
  static const char* name_of(int) { return ""; }
  static const sum& bias_policy(const sum& s) { return s; }
};

template <class First, class... Rest>
struct sum<First, Rest...> {
  static constexpr int columns = First::columns + sum<Rest...>::columns;
  static constexpr int terms = 1 + sum<Rest...>::terms;
  static constexpr bool needs_noise = detail::needs_noise<First> || sum<Rest...>::needs_noise;
  static constexpr bool needs_threshold = detail::needs_threshold<First> || sum<Rest...>::needs_threshold;
  static constexpr bool needs_choice = detail::needs_choice<First> || sum<Rest...>::needs_choice;
  static constexpr bool needs_clean_scores = detail::needs_clean_scores<First> || sum<Rest...>::needs_clean_scores;
  static constexpr bool needs_target = detail::needs_target<First> || sum<Rest...>::needs_target;
  static constexpr bool has_bias = detail::has_bias<First> || sum<Rest...>::has_bias;
  static constexpr bool adapts = detail::adapts<First> || sum<Rest...>::adapts;

  First first{};
  sum<Rest...> rest{};

  template <class L>
  auto& get() {
    if constexpr (std::is_same_v<L, First>) return first;
    else return rest.template get<L>();
  }
  template <class L>
  const auto& get() const {
    if constexpr (std::is_same_v<L, First>) return first;
    else return rest.template get<L>();
  }
  /// The term whose coefficient is state.
  POLYMOE_HD auto& adaptive() requires adapts {
    if constexpr (detail::adapts<First>) return first;
    else return rest.adaptive();
  }
  POLYMOE_HD const auto& adaptive() const requires adapts {
    if constexpr (detail::adapts<First>) return first;
    else return rest.adaptive();
  }
  /// The rate of the loss-free bias term.
  float bias_rate() const {
    if constexpr (detail::has_bias<First>) return first.rate;
    else if constexpr (has_bias) return rest.bias_rate();
    else return 0;
  }

  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    first.partial(r, acc);
    rest.partial(r, acc + First::columns);
  }
  /// One unweighted value per term.
  template <class S>
  POLYMOE_HD void values(const S* totals, int experts, index units, S* out) const {
    out[0] = first.value(totals, experts, units);
    rest.values(totals + First::columns * experts, experts, units, out + 1);
  }
  /// Gradients of weight * scale * value with respect to the totals.
  template <class S>
  POLYMOE_HD void cotangents(const S* totals, int experts, index units, S scale, S* out) const {
    first.cotangent(totals, experts, units, out);
    for (int i = 0; i < First::columns * experts; ++i) out[i] = out[i] * scale * S(first.weight);
    rest.cotangents(totals + First::columns * experts, experts, units, scale, out + First::columns * experts);
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info& r, const Row* cot, Grad& g) const {
    first.add_grad(r, cot, g);
    rest.add_grad(r, cot + First::columns, g);
  }
  void validate(int experts) const {
    require(math::is_finite(first.weight), "balance: the weight of ", name_of(0), " is ", first.weight,
            ", it must be finite");
    if constexpr (requires { first.validate(experts); }) first.validate(experts);
    rest.validate(experts);
  }
  float weight_of(int i) const { return i == 0 ? first.weight : rest.weight_of(i - 1); }
  static const char* name_of(int i) { return i == 0 ? policy_name<First>() : sum<Rest...>::name_of(i - 1); }
};

namespace detail {
template <class L>
struct as_sum_of {
  using type = sum<L>;
};
template <class... L>
struct as_sum_of<sum<L...>> {
  using type = sum<L...>;
};
template <>
struct as_sum_of<none> {
  using type = sum<>;
};
}  // namespace detail
/// Every balance policy as a sum<...>: what the library works with.
template <class L>
using as_sum = typename detail::as_sum_of<L>::type;

}  // namespace balance
}  // namespace polymoe
