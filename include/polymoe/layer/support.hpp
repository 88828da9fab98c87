// support<Spec, Backend>(): whether a composition exists, as a code, without failing; and
// the sentences behind the codes.
//
// layer<> turns a refusal into one static_assert sentence: what is missing, its exact form, why, where to read.
// docs/errors.md lists every code with a failing and a mended snippet.
#pragma once

#include "../router/route_row.hpp"
#include "../router/strictly_balanced.hpp"
#include "../router/with_cosine.hpp"
#include "../router/with_orthogonal.hpp"
#include "spec.hpp"

namespace polymoe::inline v0 {

enum class verdict {
  ok,
  M001_router_k,
  M002_router_scores,
  M003_router_vjp,
  M004_router_select,
  M005_k_out_of_range,
  M006_capacity_slots,
  M007_capacity_overflow,
  M008_combine_weigh,
  M009_combine_vjp,
  M010_drop_with_head,
  M011_identity_with_head,
  M012_noise_needed,
  M013_mixture_bounded,
  M014_mixture_load,
  M015_scalar,
  M016_balance_members,
  M017_wrong_plan,
  M018_noise_vjp,
  M019_expert_module,
  M020_bias_with_mixture,
  M021_scalar_of_backend,
  M022_router_of_backend,
  M023_overflow_of_picks,
  M024_balance_of_columns,
  M025_policies_of_slots,
  M026_l1_needs_positive,
  M027_save,
  M028_convolution_of_backend,
  M029_convolution_needs_maps,
  M034_linear_map_needed = 34,
  M035_assignment_of_one = 35,
  M036_thresholds_of_rows = 36,
  M037_prices_of_backend = 37,
  M038_gradient_of_plan = 38,
  M039_clean_scores_of_plan = 39,
  M040_exchange = 40,
};

namespace detail {
template <class S>
inline constexpr bool known_scalar = std::is_same_v<S, float> || std::is_same_v<S, double> || std::is_same_v<S, bf16> ||
                                     std::is_same_v<S, dual<float>> || std::is_same_v<S, dual<double>>;
// Members are probed with a plain float row; that is also what the CPU backend calls them with.
using probe_row = row<scalar_group, 8, float>;

template <class R>
consteval bool router_has_k() {
  return requires { { R::k } -> std::convertible_to<int>; };
}
template <class R>
consteval bool router_has_scores() {
  return requires(const R r, probe_row x) { { r.scores(x) } -> std::same_as<probe_row>; };
}
template <class R>
consteval bool router_has_vjp() {
  return requires(const R r, probe_row x) { { r.vjp(x, x) } -> std::same_as<probe_row>; };
}
template <class R>
consteval bool router_has_select() {
  if constexpr (router_has_k<R>())
    if constexpr (R::k >= 1)
      return requires(const R r, probe_row x) { { r.select(x) } -> std::same_as<choice<R::k>>; } ||
             requires(const R r, probe_row x) { { r.select(x, index{0}) } -> std::same_as<choice<R::k>>; };
  return true;
}
template <class R>
consteval bool router_noise_complete() {
  if constexpr ((projections<R>) > 1)
    return requires(const R r, probe_row x) {
      { r.noise_std(x) } -> std::same_as<probe_row>;
      { r.noise_vjp(x, x) } -> std::same_as<probe_row>;
    };
  return true;
}
template <class C>
consteval bool capacity_has_slots() {
  return requires(const C c, capacity_query q) { { c.slots(q) } -> std::convertible_to<index>; };
}
template <class C>
consteval bool capacity_has_overflow() {
  return requires {
    { C::limited } -> std::convertible_to<bool>;
    C::overflow_policy::value;
    C::overflow_policy::rounds;
    C::priority_policy::value;
  };
}
template <class C>
consteval bool combine_has_weigh() {
  return requires(const C c, const chosen_scores<2, float> s, float* w) { c.weigh(s, w); };
}
template <class C>
consteval bool combine_has_vjp() {
  return requires(const C c, const chosen_scores<2, float> s, const float* d, float* g) { c.vjp(s, d, g); };
}
template <class L>
consteval bool balance_term_complete() {
  using Info = row_info<probe_row, 2>;
  return requires { { L::columns } -> std::convertible_to<int>; } &&
         requires(const L l, const Info& i, probe_row* a, row_grad<probe_row>& g, const float* totals, float* out) {
           { l.weight } -> std::convertible_to<float>;
           l.partial(i, a);
           { l.value(totals, 8, index{8}) } -> std::convertible_to<float>;
           l.cotangent(totals, 8, index{8}, out);
           l.add_grad(i, a, g);
         };
}
// Every term of a sum is probed on its own: a sum of incomplete terms has all the members itself.
template <class B>
struct balance_terms {
  static consteval bool complete() { return balance_term_complete<B>(); }
};
template <class... L>
struct balance_terms<balance::sum<L...>> {
  static consteval bool complete() { return (balance_term_complete<L>() && ...); }
};
template <class B>
consteval bool balance_complete() {
  return balance_terms<B>::complete();
}
template <class Spec, class Backend>
consteval bool expert_has_module() {
  return requires {
    typename Spec::expert::template module<typename Spec::scalar, Backend>;
    { Spec::expert::head_of_classes } -> std::convertible_to<bool>;
  };
}
/// Whether an expert convolves the rows of its units.
template <class Expert>
inline constexpr bool expert_convolves = requires { requires bool(Expert::convolves); };
}  // namespace detail

namespace detail {
/// Routers with phases over columns: experts that pick, and scores that plan groups.
template <class R>
inline constexpr bool in_columns = R::k == picked_by_experts || plans_groups<R>;
/// Scores whose plan gives every unit one expert.
template <class R>
inline constexpr bool assigns_one = requires { requires bool(R::assigns_one); };
/// The same in routers that ask for another number.
template <class R>
inline constexpr bool assigns_another_number = assigns_one<R> && R::k != 1;
template <class Backend>
inline constexpr bool has_column_routers = requires { requires bool(Backend::column_routers); };
template <class Backend>
inline constexpr bool has_slot_routers = requires { requires bool(Backend::slot_routers); };

template <class Backend>
inline constexpr bool has_balanced_routers = requires { requires bool(Backend::balanced_routers); };

/// Whether a backend keeps the prices that group plans begin with.
template <class Backend>
inline constexpr bool has_prices = requires { requires bool(Backend::carries_prices); };
/// False for a router whose gates are made of a plan without a gradient.
template <class R>
inline constexpr bool plan_has_gradient = !requires { requires weighs_plan<R> && !bool(R::plan_has_gradient); };

/// False for a router whose plan is made of the row scores, so that those cannot be the clean ones.
template <class R>
inline constexpr bool plan_has_clean_scores = !requires {
  requires weighs_clean_scores<R> && !bool(R::plan_reads_logits);
};

/// The verdict on a layer of slots (Soft MoE): the plan is fixed, so most axes are.
template <class Spec, class Backend>
consteval verdict support_of_slots() {
  using R = typename Spec::router;
  if constexpr (!requires(const R r) {
                  { r.slots } -> std::convertible_to<index>;
                  { R::normalised } -> std::convertible_to<bool>;
                  typename R::axis;
                })
    return verdict::M017_wrong_plan;
  if (has_projection_bias<R> || has_cosine_logits<R> || starts_orthogonal<R>) return verdict::M034_linear_map_needed;
  if (!has_slot_routers<Backend>) return verdict::M022_router_of_backend;
  if (!expert_has_module<Spec, Backend>()) return verdict::M019_expert_module;
  using Save = typename Spec::save;
  if (!save_policy<Save> || (!std::is_same_v<Save, save::everything> && !saves<Spec, Backend>))
    return verdict::M027_save;
  if (!keeps_output<Save>) return verdict::M025_policies_of_slots;
  if constexpr (!std::is_same_v<typename Spec::capacity, capacity::unlimited> ||
                !std::is_same_v<typename Spec::combine, combine::affinity> ||
                !std::is_same_v<typename Spec::balance, balance::none>)
    return verdict::M025_policies_of_slots;
  return verdict::ok;
}
}  // namespace detail

/// The verdict on a composition.  Never fails to compile, whatever the policies look like.
template <class Spec, class Backend>
consteval verdict support() {
  using R = typename Spec::router;
  using Cap = typename Spec::capacity;
  if (!detail::known_scalar<typename Spec::scalar>) return verdict::M015_scalar;
  if (!Backend::template computes<typename Spec::scalar>) return verdict::M021_scalar_of_backend;
  if (!std::is_same_v<typename Spec::exchange, exchange::none>) return verdict::M040_exchange;
  if (detail::expert_convolves<typename Spec::expert>) {
    if (!backend::has_convolutions<Backend>()) return verdict::M028_convolution_of_backend;
    if (!Spec::unit::block) return verdict::M029_convolution_needs_maps;
  }
  if (!detail::router_has_k<R>()) return verdict::M001_router_k;
  if constexpr (detail::router_has_k<R>()) {
    if (R::k == mixed_into_slots) return detail::support_of_slots<Spec, Backend>();
  }
  if (!detail::router_has_scores<R>()) return verdict::M002_router_scores;
  if (!detail::router_has_vjp<R>()) return verdict::M003_router_vjp;
  if constexpr (detail::router_has_k<R>()) {
    if (R::k != every_expert && R::k != picked_by_experts && (R::k < 1 || R::k > 16))
      return verdict::M005_k_out_of_range;
    if (detail::in_columns<R> && !detail::has_column_routers<Backend>) return verdict::M022_router_of_backend;
    if ((learns_thresholds<R> || detail::assigns_one<R>) && !detail::has_balanced_routers<Backend>)
      return verdict::M022_router_of_backend;
    if (has_projection_bias<R> && has_cosine_logits<R> && !has_cosine_projection<R>)
      return verdict::M034_linear_map_needed;
    if (detail::assigns_another_number<R>) return verdict::M035_assignment_of_one;
    if (carries_prices<R> && !detail::has_prices<Backend>) return verdict::M037_prices_of_backend;
    if (!detail::plan_has_gradient<R>) return verdict::M038_gradient_of_plan;
    if (!detail::plan_has_clean_scores<R>) return verdict::M039_clean_scores_of_plan;
    if (!detail::router_has_select<R>()) return verdict::M004_router_select;
    if (!detail::router_noise_complete<R>()) return verdict::M018_noise_vjp;
  }
  if (!detail::capacity_has_slots<Cap>()) return verdict::M006_capacity_slots;
  if (!detail::capacity_has_overflow<Cap>()) return verdict::M007_capacity_overflow;
  if (!detail::combine_has_weigh<typename Spec::combine>()) return verdict::M008_combine_weigh;
  if (!detail::combine_has_vjp<typename Spec::combine>()) return verdict::M009_combine_vjp;
  if (!detail::balance_complete<typename Spec::balance>()) return verdict::M016_balance_members;
  if (!detail::expert_has_module<Spec, Backend>()) return verdict::M019_expert_module;
  using Save = typename Spec::save;
  if (!save_policy<Save>) return verdict::M027_save;
  if (!std::is_same_v<Save, save::everything> && !detail::saves<Spec, Backend>) return verdict::M027_save;
  if constexpr (detail::router_has_k<R>() && detail::capacity_has_overflow<Cap>() &&
                detail::balance_complete<typename Spec::balance>() && detail::expert_has_module<Spec, Backend>()) {
    using Bal = balance::as_sum<typename Spec::balance>;
    constexpr bool mixture = R::k == every_expert;
    constexpr auto over = Cap::overflow_policy::value;
    if (Bal::adapts && !picks_positive<R>) return verdict::M026_l1_needs_positive;
    if (detail::in_columns<R> && (Bal::needs_choice || Bal::has_bias)) return verdict::M024_balance_of_columns;
    if (learns_thresholds<R> && (!Cap::limited || plans_groups<R>)) return verdict::M036_thresholds_of_rows;
    if (R::k == picked_by_experts && Cap::limited && over != overflow::kind::drop &&
        over != overflow::kind::drop_to_zero)
      return verdict::M023_overflow_of_picks;
    if (mixture && Cap::limited) return verdict::M013_mixture_bounded;
    if (mixture && Bal::needs_choice) return verdict::M014_mixture_load;
    if (mixture && Bal::has_bias) return verdict::M020_bias_with_mixture;
    if (Bal::needs_noise && !has_noise<R, detail::probe_row>) return verdict::M012_noise_needed;
    if (Spec::expert::head_of_classes && rest_to_unit<typename Spec::combine>) return verdict::M011_identity_with_head;
    if (Spec::expert::head_of_classes && Cap::limited) {
      if (over == overflow::kind::drop || over == overflow::kind::reroute) return verdict::M010_drop_with_head;
      if (over == overflow::kind::identity) return verdict::M011_identity_with_head;
    }
  }
  return verdict::ok;
}

namespace detail {
/// One mistake, one error, its sentence on the first line.  Always true: the sentences are the verdict.
template <class Spec, class Backend>
consteval bool explain() {
  constexpr verdict v = support<Spec, Backend>();
  static_assert(v != verdict::M001_router_k,
                "polymoe M001: Spec::router needs static constexpr int k (experts per unit, or polymoe::every_expert "
                "or picked_by_experts): it sizes the plan. See docs/errors.md#M001");
  static_assert(v != verdict::M002_router_scores,
                "polymoe M002: Spec::router needs template <class Row> POLYMOE_HD Row scores(const Row& logits) const: "
                "gates are made of scores. See docs/errors.md#M002");
  static_assert(v != verdict::M003_router_vjp,
                "polymoe M003: Spec::router needs template <class Row> POLYMOE_HD Row vjp(const Row& logits, const "
                "Row& d_scores) const: without it the router cannot be trained. See docs/errors.md#M003");
  static_assert(v != verdict::M004_router_select,
                "polymoe M004: Spec::router needs template <class Row> POLYMOE_HD polymoe::choice<k> select(const Row& "
                "scores) const: it names the k experts, best first. See docs/errors.md#M004");
  static_assert(v != verdict::M005_k_out_of_range,
                "polymoe M005: Spec::router::k must lie in 1..16, or be polymoe::every_expert: a unit without experts "
                "has no output. See docs/errors.md#M005");
  static_assert(v != verdict::M006_capacity_slots,
                "polymoe M006: Spec::capacity needs index slots(const polymoe::capacity_query&) const: slots of one "
                "expert in one group. See docs/errors.md#M006");
  static_assert(v != verdict::M007_capacity_overflow,
                "polymoe M007: Spec::capacity needs static constexpr bool limited and the types overflow_policy and "
                "priority_policy. See docs/errors.md#M007");
  static_assert(v != verdict::M008_combine_weigh,
                "polymoe M008: Spec::combine needs template <int K, class S> POLYMOE_HD void weigh(const "
                "polymoe::chosen_scores<K, S>&, S* weight) const. See docs/errors.md#M008");
  static_assert(v != verdict::M009_combine_vjp,
                "polymoe M009: Spec::combine needs template <int K, class S> POLYMOE_HD void vjp(const "
                "polymoe::chosen_scores<K, S>&, const S* d_weight, S* d_score) const. See docs/errors.md#M009");
  static_assert(v != verdict::M010_drop_with_head,
                "polymoe M010: overflow::drop (or reroute, which ends in drop) with a head expert gives dropped units "
                "zero logits: no residual carries them. Write overflow::drop_to_zero if that is meant, or use "
                "fallback. See docs/errors.md#M010");
  static_assert(v != verdict::M011_identity_with_head,
                "polymoe M011: overflow::identity and combine::interpolated cannot work with a head expert: they add "
                "the unit to the output, the unit has D columns, the output has one per class. Use fallback, or "
                "combine::affinity. See docs/errors.md#M011");
  static_assert(v != verdict::M012_noise_needed,
                "polymoe M012: balance::load and load_shazeer need a router with noise (score::noisy_constant or "
                "noisy_learned): the load is a probability over redrawn noise. See docs/errors.md#M012");
  static_assert(v != verdict::M013_mixture_bounded,
                "polymoe M013: a mixture uses every expert for every unit, so a bounded capacity has nothing to bound. "
                "Use capacity::unlimited. See docs/errors.md#M013");
  static_assert(v != verdict::M014_mixture_load,
                "polymoe M014: balance::load, load_shazeer and switch_loss need a choice of K experts; a mixture makes "
                "none. Use importance or a KL loss. See docs/errors.md#M014");
  static_assert(v != verdict::M015_scalar,
                "polymoe M015: Spec::scalar must be float, double, polymoe::bf16, polymoe::dual<float> or "
                "polymoe::dual<double>. See docs/errors.md#M015");
  static_assert(
      v != verdict::M016_balance_members,
      "polymoe M016: each term of Spec::balance needs columns, weight, partial, value, cotangent and add_grad "
      "(include/polymoe/balance/balance.hpp has their forms): the losses work in two phases. See docs/errors.md#M016");
  static_assert(
      v != verdict::M017_wrong_plan,
      "polymoe M017: a router with k = polymoe::mixed_into_slots needs index slots, static constexpr bool normalised "
      "and a type axis, as polymoe::soft_slots has: no other mixing of units is offered. See docs/errors.md#M017");
  static_assert(v != verdict::M018_noise_vjp,
                "polymoe M018: a router with projections = 2 needs Row noise_std(const Row& raw) const and Row "
                "noise_vjp(const Row& raw, const Row& d_std) const. See docs/errors.md#M018");
  static_assert(v != verdict::M019_expert_module,
                "polymoe M019: Spec::expert needs static constexpr bool head_of_classes and template <class T, class "
                "Backend> using module. See docs/errors.md#M019");
  static_assert(
      v != verdict::M020_bias_with_mixture,
      "polymoe M020: balance::loss_free_bias steers a selection; a mixture selects nothing. See docs/errors.md#M020");
  static_assert(v != verdict::M021_scalar_of_backend,
                "polymoe M021: this backend does not compute in Spec::scalar; dual numbers run on polymoe::cpu only. "
                "See docs/errors.md#M021");
  static_assert(v != verdict::M022_router_of_backend,
                "polymoe M022: this backend has no kernels for this router: soft_slots needs its slot_routers; "
                "expert_choice, positive, score::sinkhorn and score::sparse_transport, which work on columns, its "
                "column_routers; strictly_balanced and score::balanced_assignment its balanced_routers. Use "
                "polymoe::cpu, or top_k or mixture with row scores. See docs/errors.md#M022");
  static_assert(v != verdict::M023_overflow_of_picks,
                "polymoe M023: where experts pick units nothing overflows, so overflow::identity, fallback and reroute "
                "have nothing to act on. Use overflow::drop or drop_to_zero: a unit that no expert picks gives zero. "
                "See docs/errors.md#M023");
  static_assert(v != verdict::M024_balance_of_columns,
                "polymoe M024: balance::load, load_shazeer, switch_loss, gshard and loss_free_bias need a choice made "
                "from a unit's own row; experts that pick and Sinkhorn plans choose later, and balance by themselves. "
                "Use importance, z_loss or none. See docs/errors.md#M024");
  static_assert(v != verdict::M025_policies_of_slots,
                "polymoe M025: soft_slots has its slots as capacity, its own softmax as combine rule and nothing to "
                "balance: leave Spec::capacity, combine and balance at their defaults, and keep the outputs (no "
                "save::without_output). See docs/errors.md#M025");
  static_assert(v != verdict::M026_l1_needs_positive,
                "polymoe M026: balance::relu_l1 steers how many scores are above zero; it needs a router that uses "
                "just those, polymoe::positive<score::relu>. See docs/errors.md#M026");
  static_assert(
      v != verdict::M027_save,
      "polymoe M027: Spec::save must be one of polymoe::save, or have their members, and any but save::everything "
      "needs an expert with template <class T, class Backend, class Save> using module. See docs/errors.md#M027");
  static_assert(v != verdict::M028_convolution_of_backend,
                "polymoe M028: this backend has no experts that convolve (or, for a module of nn, no such module of "
                "feature maps); they run on polymoe::cpu and polymoe::cuda. See docs/errors.md#M028");
  static_assert(v != verdict::M029_convolution_needs_maps,
                "polymoe M029: a convolution expert computes on whole feature maps; Spec::unit must be "
                "polymoe::unit::feature_map (or another block). See docs/errors.md#M029");
  static_assert(v != verdict::M034_linear_map_needed,
                "polymoe M034: this router has no linear map that the bias, the cosine or the first values could "
                "belong to. soft_slots multiply units with slots and normalise by themselves: leave with_bias, "
                "with_cosine and with_orthogonal out. with_cosine<R, false> compares units as they are: for a bias "
                "write with_bias<with_cosine<R>>. See docs/errors.md#M034");
  static_assert(
      v != verdict::M035_assignment_of_one,
      "polymoe M035: score::balanced_assignment gives every unit one expert, so its router is polymoe::top_k<1, "
      "score::balanced_assignment<>>. For several experts a unit use score::sinkhorn. See docs/errors.md#M035");
  static_assert(v != verdict::M036_thresholds_of_rows,
                "polymoe M036: strictly_balanced needs capacity::bounded, whose factor says how many units each expert "
                "takes in training, and a score of single rows (softmax, sigmoid): thresholds that a unit alone is "
                "compared with cannot be learned for the plan of a group. See docs/errors.md#M036");
  static_assert(v != verdict::M037_prices_of_backend,
                "polymoe M037: this backend keeps no prices of a transport plan from step to step; use "
                "score::start::cold, or polymoe::cpu. See docs/errors.md#M037");
  static_assert(
      v != verdict::M038_gradient_of_plan,
      "polymoe M038: score::by_plan needs a plan with a gradient: sparse_transport has one with score::solver::newton "
      "and score::softmax inside. Use those, or score::by_score. See docs/errors.md#M038");
  static_assert(
      v != verdict::M039_clean_scores_of_plan,
      "polymoe M039: score::by_clean_score keeps noise out of the row scores, of which sparse_transport makes its "
      "plan: the noise would do nothing. Use it with score::sinkhorn, or score::by_score. See docs/errors.md#M039");
  static_assert(v != verdict::M040_exchange,
                "polymoe M040: Spec::exchange must be polymoe::exchange::none: all experts live in this process, no "
                "layer moves rows between processes. See docs/errors.md#M040");
  return true;
}
}  // namespace detail

}  // namespace polymoe
