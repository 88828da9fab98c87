// What support<> refuses, code by code: the compositions of tests/compile_fail, and others of the same kind.
// with: slots
#include <doctest/doctest.h>

#include <polymoe/polymoe.hpp>

using polymoe::cpu;
using polymoe::support;
using polymoe::verdict;

namespace m001 {
struct no_k {
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
};
struct bad : polymoe::spec {
  using router = no_k;
};
static_assert(support<bad, cpu>() == verdict::M001_router_k);
}  // namespace m001

namespace m002 {
struct no_scores {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row score(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<2> select(const Row& s) const {
    return polymoe::largest<2>(s);
  }
};
struct bad : polymoe::spec {
  using router = no_scores;
};
static_assert(support<bad, cpu>() == verdict::M002_router_scores);
}  // namespace m002

namespace m003 {
struct no_vjp {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vpj(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<2> select(const Row& s) const {
    return polymoe::largest<2>(s);
  }
};
struct bad : polymoe::spec {
  using router = no_vjp;
};
static_assert(support<bad, cpu>() == verdict::M003_router_vjp);
}  // namespace m003

namespace m004 {
struct wrong_select {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<3> select(const Row& s) const {
    return polymoe::largest<3>(s);
  }
};
struct bad : polymoe::spec {
  using router = wrong_select;
};
static_assert(support<bad, cpu>() == verdict::M004_router_select);
}  // namespace m004

namespace m005 {
struct k_zero {
  static constexpr int k = 0;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
};
struct bad : polymoe::spec {
  using router = k_zero;
};
static_assert(support<bad, cpu>() == verdict::M005_k_out_of_range);
}  // namespace m005

namespace m006 {
struct no_slots {
  static constexpr bool limited = true;
  using overflow_policy = polymoe::overflow::drop;
  using priority_policy = polymoe::priority::position;
};
struct bad : polymoe::spec {
  using capacity = no_slots;
};
static_assert(support<bad, cpu>() == verdict::M006_capacity_slots);
}  // namespace m006

namespace m007 {
struct no_overflow {
  static constexpr bool limited = true;
  constexpr polymoe::index slots(const polymoe::capacity_query& q) const { return q.tokens; }
};
struct bad : polymoe::spec {
  using capacity = no_overflow;
};
static_assert(support<bad, cpu>() == verdict::M007_capacity_overflow);
}  // namespace m007

namespace m008 {
struct no_weigh {
  template <int K, class S>
  POLYMOE_HD void weight(const polymoe::chosen_scores<K, S>&, S*) const {}
  template <int K, class S>
  POLYMOE_HD void vjp(const polymoe::chosen_scores<K, S>&, const S*, S*) const {}
};
struct bad : polymoe::spec {
  using combine = no_weigh;
};
static_assert(support<bad, cpu>() == verdict::M008_combine_weigh);
}  // namespace m008

namespace m009 {
struct no_combine_vjp {
  template <int K, class S>
  POLYMOE_HD void weigh(const polymoe::chosen_scores<K, S>& c, S* w) const {
    for (int j = 0; j < c.n; ++j) w[j] = c.score[j];
  }
};
struct bad : polymoe::spec {
  using combine = no_combine_vjp;
};
static_assert(support<bad, cpu>() == verdict::M009_combine_vjp);
}  // namespace m009

namespace m010 {
struct bad : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
};
static_assert(support<bad, cpu>() == verdict::M010_drop_with_head);
}  // namespace m010

namespace m011 {
struct bad : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::identity>;
};
static_assert(support<bad, cpu>() == verdict::M011_identity_with_head);
struct also : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using combine = polymoe::combine::interpolated;
};
static_assert(support<also, cpu>() == verdict::M011_identity_with_head);
}  // namespace m011

namespace m012 {
struct bad : polymoe::spec {
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};
static_assert(support<bad, cpu>() == verdict::M012_noise_needed);
}  // namespace m012

namespace m013 {
struct bad : polymoe::spec {
  using router = polymoe::mixture<>;
  using capacity = polymoe::capacity::bounded<>;
};
static_assert(support<bad, cpu>() == verdict::M013_mixture_bounded);
}  // namespace m013

namespace m014 {
struct bad : polymoe::spec {
  using router = polymoe::mixture<polymoe::score::noisy_constant<>>;
  using balance = polymoe::balance::load;
};
static_assert(support<bad, cpu>() == verdict::M014_mixture_load);
struct counted : polymoe::spec {
  using router = polymoe::mixture<>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::switch_loss>;
};
static_assert(support<counted, cpu>() == verdict::M014_mixture_load);
}  // namespace m014

namespace m015 {
struct bad : polymoe::spec {
  using scalar = long double;
};
static_assert(support<bad, cpu>() == verdict::M015_scalar);
}  // namespace m015

namespace m016 {
struct half_a_loss {
  static constexpr const char* name = "half";
  static constexpr int columns = 1;
  float weight = 1.0f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    acc[0].add(r.scores);
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int, polymoe::index) const {
    return totals[0];
  }
};
struct bad : polymoe::spec {
  using balance = half_a_loss;
};
static_assert(support<bad, cpu>() == verdict::M016_balance_members);
struct half_sum : polymoe::spec {  // an incomplete term inside a sum
  using balance = polymoe::balance::sum<polymoe::balance::importance, m016::half_a_loss>;
};
static_assert(support<half_sum, cpu>() == verdict::M016_balance_members);
}  // namespace m016

namespace m017 {
struct token_mixer {
  static constexpr int k = polymoe::mixed_into_slots;
};
struct bad : polymoe::spec {
  using router = token_mixer;
};
static_assert(support<bad, cpu>() == verdict::M017_wrong_plan);
}  // namespace m017

namespace m018 {
struct half_a_noise : polymoe::top_k<2> {
  static constexpr int projections = 2;
  template <class Row>
  POLYMOE_HD Row noise_std(const Row& raw) const {
    return raw;
  }
};
struct bad : polymoe::spec {
  using router = half_a_noise;
};
static_assert(support<bad, cpu>() == verdict::M018_noise_vjp);
}  // namespace m018

namespace m019 {
struct no_module {
  static constexpr bool head_of_classes = false;
};
struct bad : polymoe::spec {
  using expert = no_module;
};
static_assert(support<bad, cpu>() == verdict::M019_expert_module);
}  // namespace m019

namespace m020 {
struct bad : polymoe::spec {
  using router = polymoe::mixture<>;
  using balance = polymoe::balance::loss_free_bias;
};
static_assert(support<bad, cpu>() == verdict::M020_bias_with_mixture);
}  // namespace m020

namespace m021 {
struct no_dual {
  template <class T>
  static constexpr bool computes = !polymoe::is_dual<T>;
};
struct bad : polymoe::spec {
  using scalar = polymoe::dual<float>;
};
static_assert(support<bad, no_dual>() == verdict::M021_scalar_of_backend);
static_assert(support<polymoe::spec, no_dual>() == verdict::ok);
}  // namespace m021

namespace m022 {
struct backend {
  template <class T>
  static constexpr bool computes = true;
};
struct bad : polymoe::spec {
  using router = polymoe::expert_choice<>;
};
static_assert(support<bad, backend>() == verdict::M022_router_of_backend);
static_assert(support<bad, cpu>() == verdict::ok);
template <class Router>
struct routed_by : polymoe::spec {
  using router = Router;
};
static_assert(support<routed_by<polymoe::top_k<2, polymoe::score::sinkhorn<>>>, backend>() ==
              verdict::M022_router_of_backend);
static_assert(support<routed_by<polymoe::soft_slots<>>, backend>() == verdict::M022_router_of_backend);
static_assert(support<routed_by<polymoe::top_k<2>>, backend>() == verdict::ok);
static_assert(support<routed_by<polymoe::fixed<>>, backend>() == verdict::ok);
static_assert(support<routed_by<polymoe::positive<>>, backend>() == verdict::M022_router_of_backend);
}  // namespace m022

namespace m023 {
struct bad : polymoe::spec {
  using router = polymoe::expert_choice<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::fallback>;
};
static_assert(support<bad, cpu>() == verdict::M023_overflow_of_picks);
}  // namespace m023

namespace m024 {
struct bad : polymoe::spec {
  using router = polymoe::expert_choice<>;
  using capacity = polymoe::capacity::bounded<>;
  using balance = polymoe::balance::switch_loss;
};
static_assert(support<bad, cpu>() == verdict::M024_balance_of_columns);
}  // namespace m024

namespace m025 {
struct bad : polymoe::spec {
  using router = polymoe::soft_slots<>;
  using capacity = polymoe::capacity::bounded<>;
};
static_assert(support<bad, cpu>() == verdict::M025_policies_of_slots);
struct forgets : polymoe::spec {
  using router = polymoe::soft_slots<>;
  using save = polymoe::save::without_output<polymoe::save::everything>;
};
struct remakes : polymoe::spec {
  using router = polymoe::soft_slots<>;
  using save = polymoe::save::input;
};
static_assert(support<forgets, cpu>() == verdict::M025_policies_of_slots);
static_assert(support<remakes, cpu>() == verdict::ok);
}  // namespace m025

namespace m026 {
struct bad : polymoe::spec {
  using router = polymoe::top_k<2>;
  using balance = polymoe::balance::relu_l1;
};
static_assert(support<bad, cpu>() == verdict::M026_l1_needs_positive);
}  // namespace m026

namespace m027 {
struct no_policy {
  static constexpr bool head_of_classes = false;
  template <class T, class Backend>
  using module = polymoe::expert::mlp<>::module<T, Backend>;
};
struct bad : polymoe::spec {
  using expert = no_policy;
  using save = polymoe::save::pre_activation;
};
struct keeps_all : polymoe::spec {
  using expert = no_policy;
};
struct no_members : polymoe::spec {
  using save = polymoe::unit::token;
};
static_assert(support<bad, cpu>() == verdict::M027_save);
static_assert(support<no_members, cpu>() == verdict::M027_save);
static_assert(support<keeps_all, cpu>() == verdict::ok);
}  // namespace m027

namespace m028 {
struct no_convolutions {
  template <class T>
  static constexpr bool computes = true;
};
struct bad : polymoe::spec {
  using unit = polymoe::unit::feature_map;
  using expert = polymoe::expert::conv_block<>;
};
static_assert(support<bad, no_convolutions>() == verdict::M028_convolution_of_backend);
static_assert(support<bad, cpu>() == verdict::ok);
static_assert(support<polymoe::spec, no_convolutions>() == verdict::ok);
}  // namespace m028

namespace m029 {
struct bad : polymoe::spec {
  using expert = polymoe::expert::depthwise_block<>;
};
static_assert(support<bad, cpu>() == verdict::M029_convolution_needs_maps);
}  // namespace m029

namespace m034 {
struct bad : polymoe::spec {
  using router = polymoe::with_bias<polymoe::soft_slots<>>;
};
static_assert(support<bad, cpu>() == verdict::M034_linear_map_needed);
struct also : polymoe::spec {
  using router = polymoe::with_orthogonal<polymoe::soft_slots<>>;
};
static_assert(support<also, cpu>() == verdict::M034_linear_map_needed);
}  // namespace m034

namespace m035 {
struct bad : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::balanced_assignment<>>;
};
static_assert(support<bad, cpu>() == verdict::M035_assignment_of_one);
}  // namespace m035

namespace m036 {
struct bad : polymoe::spec {
  using router = polymoe::strictly_balanced<>;
};
static_assert(support<bad, cpu>() == verdict::M036_thresholds_of_rows);
struct of_groups : polymoe::spec {
  using router = polymoe::strictly_balanced<polymoe::score::sinkhorn<>>;
  using capacity = polymoe::capacity::bounded<>;
};
static_assert(support<of_groups, cpu>() == verdict::M036_thresholds_of_rows);
}  // namespace m036

namespace m037 {
struct backend {
  template <class T>
  static constexpr bool computes = true;
  static constexpr bool column_routers = true;
};
template <class Weights, class Start, class Solver = polymoe::score::solver::newton>
struct with : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::sparse_transport<Solver, Weights, Start>>;
};
using polymoe::score::by_plan;
using polymoe::score::by_score;
namespace start = polymoe::score::start;
static_assert(support<with<by_score, start::last_step>, backend>() == verdict::M037_prices_of_backend);
static_assert(support<with<by_score, start::last_step>, cpu>() == verdict::ok);
}  // namespace m037

namespace m038 {
using m037::by_plan;
using m037::with;
namespace solver = polymoe::score::solver;
static_assert(support<with<by_plan, m037::start::cold, solver::adam>, cpu>() == verdict::M038_gradient_of_plan);
static_assert(support<with<by_plan, m037::start::cold, solver::lbfgs>, cpu>() == verdict::M038_gradient_of_plan);
static_assert(support<with<by_plan, m037::start::cold>, cpu>() == verdict::ok);
}  // namespace m038

namespace m039 {
using m037::with;
using polymoe::score::by_clean_score;
static_assert(support<with<by_clean_score, m037::start::cold>, cpu>() == verdict::M039_clean_scores_of_plan);
static_assert(support<with<by_clean_score, m037::start::cold, m038::solver::adam>, cpu>() ==
              verdict::M039_clean_scores_of_plan);
struct of_logits : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<polymoe::score::sinkhorn<by_clean_score>>>;
};
static_assert(support<of_logits, cpu>() == verdict::ok);
}  // namespace m039

namespace m040 {
struct over_mpi : polymoe::exchange::none {};
struct bad : polymoe::spec {
  using exchange = over_mpi;
};
struct bad_slots : bad {
  using router = polymoe::soft_slots<>;
};
static_assert(support<bad, cpu>() == verdict::M040_exchange);
static_assert(support<bad_slots, cpu>() == verdict::M040_exchange);
}  // namespace m040

TEST_CASE("a refused composition is a constant and no error") {
  constexpr bool load_without_noise = support<m012::bad, cpu>() == verdict::ok;
  CHECK_FALSE(load_without_noise);
}
