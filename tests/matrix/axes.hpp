// The axes of a composition and their values: what the support matrix lists and what the tests of compositions combine.
//
// One line adds a value to an axis.  `both`: docs/support.md lists it and compositions are tested with it; `page`: it
// is listed only; `tests`: it is tested only.  After a change, write the page and the tests of compositions
// (compositions_<n>_test.cpp, score_compositions_<n>_test.cpp, cuda_compositions_<n>_test.cpp) again, in the project's
// folder:
//
//   build/check/tests/support_matrix write
//
// A value that works only together with a value that is nobody's default needs an alternative in `completion` below.
#pragma once

#include <array>
#include <tuple>

#include <polymoe/polymoe.hpp>

namespace polymoe::inline v0 {
namespace backend {
struct cuda_device;
}
using cuda = backend::cuda_device;  // as backend.cuh has it
}  // namespace polymoe

// X(A, identifier, where it appears, the type as a program writes it)
#define MATRIX_ROUTERS(X, A)                                                                                           \
  X(A, top_1, both, top_k<1>)                                                                                          \
  X(A, top_2, both, top_k<2>)                                                                                          \
  X(A, top_2_group_limited, both, group_limited<2, 5, 3>)                                                              \
  X(A, top_2_sigmoid, both, top_k<2, score::sigmoid>)                                                                  \
  X(A, top_2_relu, both, top_k<2, score::relu>)                                                                        \
  X(A, top_2_constant_noise, both, top_k<2, score::noisy_constant<>>)                                                  \
  X(A, top_2_learned_noise, both, top_k<2, score::noisy_learned<>>)                                                    \
  X(A, top_2_standardized, both, top_k<2, score::standardized<>>)                                                      \
  X(A, top_2_dropout, both, top_k<2, score::logit_dropout<>>)                                                          \
  X(A, top_2_largest, both, top_k<2, score::largest_softmax<2>>)                                                       \
  X(A, top_2_jitter, both, top_k<2, score::gate_jitter<>>)                                                             \
  X(A, top_2_input_dropout, both, top_k<2, score::gate_dropout<>>)                                                     \
  X(A, top_2_bias, both, with_bias<top_k<2>>)                                                                          \
  X(A, top_2_cosine, both, with_cosine<top_k<2>>)                                                                      \
  X(A, paper_b_head, both, with_bias<top_k<2,                                                                          \
    score::gate_dropout<score::standardized<score::logit_dropout<score::noisy_learned<score::largest_softmax<2>>>>>>>) \
  X(A, top_2_sinkhorn, both, top_k<2, score::sinkhorn<>>)                                                              \
  X(A, top_2_sinkhorn_plan, both, top_k<2, score::sinkhorn<score::by_plan>>)                                           \
  X(A, top_2_sinkhorn_clean, both, top_k<2, score::noisy_constant<score::sinkhorn<score::by_clean_score>>>)            \
  X(A, top_2_transport, both, top_k<2, score::sparse_transport<>>)                                                     \
  X(A, top_2_transport_lbfgs, both, top_k<2, score::sparse_transport<score::solver::lbfgs>>)                           \
  X(A, top_2_transport_newton, both, top_k<2, score::sparse_transport<score::solver::newton>>)                         \
  X(A, top_2_transport_plan, both, top_k<2, score::sparse_transport<score::solver::newton, score::by_plan>>)           \
  X(A, top_2_transport_dense, tests, without_limit<top_k<2, score::sparse_transport<score::solver::newton>>>)          \
  X(A, top_1_balanced, both, with_orthogonal<top_k<1, score::balanced_assignment<>>>)                                  \
  X(A, fixed, both, fixed<>)                                                                                           \
  X(A, hashed, both, hashed<score::softmax>)                                                                           \
  X(A, mixture, both, mixture<>)                                                                                       \
  X(A, mixture_noise, both, mixture<score::noisy_learned<>>)                                                           \
  X(A, mixture_bias, both, with_bias<mixture<>>)                                                                       \
  X(A, mixture_cosine_bias, both, with_bias<with_cosine<mixture<score::noisy_learned<>>>>)                             \
  X(A, mixture_sinkhorn_plan, both, mixture<score::sinkhorn<score::by_plan>>)                                          \
  X(A, expert_choice, both, expert_choice<>)                                                                           \
  X(A, expert_choice_sigmoid, both, expert_choice<score::sigmoid>)                                                     \
  X(A, expert_choice_relu, both, expert_choice<score::relu>)                                                           \
  X(A, expert_choice_noise, both, expert_choice<score::noisy_constant<>>)                                              \
  X(A, expert_choice_bias, both, with_bias<expert_choice<score::gate_jitter<>>>)                                       \
  X(A, expert_choice_cosine, both, with_cosine<expert_choice<>, false>)                                                \
  X(A, expert_choice_sinkhorn, both, expert_choice<score::sinkhorn<>>)                                                 \
  X(A, expert_choice_sinkhorn_plan, both, expert_choice<score::sinkhorn<score::by_plan>>)                              \
  X(A, expert_choice_transport, both, expert_choice<score::sparse_transport<>>)                                        \
  X(A, expert_choice_transport_lbfgs, both, expert_choice<score::sparse_transport<score::solver::lbfgs>>)              \
  X(A, expert_choice_transport_plan, both,                                                                             \
    expert_choice<score::sparse_transport<score::solver::newton, score::by_plan>>)                                     \
  X(A, expert_choice_transport_dense, tests,                                                                           \
    without_limit<expert_choice<score::sparse_transport<score::solver::newton, score::by_plan>>>)                      \
  X(A, expert_choice_transport_prices, both,                                                                           \
    expert_choice<score::sparse_transport<score::solver::newton, score::by_score, score::start::last_step>>)           \
  X(A, strictly_balanced, both, strictly_balanced<>)                                                                   \
  X(A, positive, both, positive<>)                                                                                     \
  X(A, soft_slots, both, soft_slots<>)                                                                                 \
  X(A, soft_slots_batch, both, soft_slots<axis::batch>)                                                                \
  X(A, soft_slots_plain, both, soft_slots<axis::image, false>)
#define MATRIX_CAPACITIES(X, A)                    \
  X(A, unlimited, both, capacity::unlimited)       \
  X(A, drop, both, overflow::drop)                 \
  X(A, drop_to_zero, both, overflow::drop_to_zero) \
  X(A, identity, both, overflow::identity)         \
  X(A, fallback, both, overflow::fallback)         \
  X(A, reroute, both, overflow::reroute<2>)
#define MATRIX_PRIORITIES(X, A)                  \
  X(A, position, both, priority::position)       \
  X(A, gate, both, priority::gate)               \
  X(A, probability, both, priority::probability) \
  X(A, random, both, priority::random)
#define MATRIX_UNITS(X, A)                        \
  X(A, token, both, unit::token)                  \
  X(A, image_mean, both, unit::image<unit::mean>) \
  X(A, class_token, both, unit::image<unit::class_token>)
#define MATRIX_EXPERTS(X, A)                                                   \
  X(A, mlp, both, expert::mlp<>)                                               \
  X(A, gated_mlp, both, expert::gated_mlp<>)                                   \
  X(A, head, both, expert::head<act::gelu_tanh>)                               \
  X(A, identity, both, expert::identity)                                       \
  X(A, conv_block, both, expert::conv_block<act::gelu_tanh, 2>)                \
  X(A, conv_block_residual, both, expert::conv_block<act::gelu_tanh, 2, true>) \
  X(A, depthwise_block, both, expert::depthwise_block<>)
#define MATRIX_COMBINES(X, A)                                          \
  X(A, affinity, both, combine::affinity)                              \
  X(A, sum, both, combine::sum)                                        \
  X(A, interpolated, both, combine::interpolated)                      \
  X(A, over_chosen, both, combine::renormalised<combine::over_chosen>) \
  X(A, over_kept, both, combine::renormalised<combine::over_kept>)
// Losses with the same demands are tested as sums too.
#define MATRIX_BALANCES(X, A)                                                                                   \
  X(A, none, both, balance::none)                                                                               \
  X(A, importance, both, balance::importance)                                                                   \
  X(A, importance_of_scores, both, balance::importance_of_scores)                                               \
  X(A, z_loss, both, balance::z_loss)                                                                           \
  X(A, kl_from_uniform, both, balance::kl_from_uniform)                                                         \
  X(A, kl_as_coded, both, balance::kl_as_coded)                                                                 \
  X(A, kl_to_uniform, both, balance::kl_to_uniform)                                                             \
  X(A, supervised, both, balance::supervised)                                                                   \
  X(A, switch_loss, both, balance::switch_loss)                                                                 \
  X(A, gshard, both, balance::gshard)                                                                           \
  X(A, load, both, balance::load)                                                                               \
  X(A, load_shazeer, both, balance::load_shazeer)                                                               \
  X(A, loss_free_bias, both, balance::loss_free_bias)                                                           \
  X(A, relu_l1, both, balance::relu_l1)                                                                         \
  X(A, of_scores, tests,                                                                                        \
    balance::sum<balance::importance, balance::importance_of_scores, balance::z_loss, balance::kl_from_uniform, \
                 balance::kl_to_uniform, balance::supervised>)                                                  \
  X(A, of_choices, tests,                                                                                       \
    balance::sum<balance::switch_loss, balance::gshard, balance::loss_free_bias, balance::load, balance::load_shazeer>)
#define MATRIX_SCALARS(X, A)         \
  X(A, f64, both, double)            \
  X(A, f32, both, float)             \
  X(A, b16, both, bf16)              \
  X(A, dual_f64, both, dual<double>) \
  X(A, dual_f32, both, dual<float>)
#define MATRIX_SAVES(X, A)                                           \
  X(A, everything, both, save::everything)                           \
  X(A, pre_activation, both, save::pre_activation)                   \
  X(A, input, both, save::input)                                     \
  X(A, nothing, both, save::nothing)                                 \
  X(A, without_output, both, save::without_output<save::everything>) \
  X(A, nothing_without_output, both, save::without_output<save::nothing>)
#define MATRIX_BACKENDS(X, A) \
  X(A, on_cpu, both, cpu)     \
  X(A, on_cuda, both, cuda)
// X(A, list, what columns of the page leave out)
#define MATRIX_AXES(X)                         \
  X(router, MATRIX_ROUTERS, "")                \
  X(capacity, MATRIX_CAPACITIES, "overflow::") \
  X(priority, MATRIX_PRIORITIES, "priority::") \
  X(unit, MATRIX_UNITS, "")                    \
  X(expert, MATRIX_EXPERTS, "expert::")        \
  X(combine, MATRIX_COMBINES, "combine::")     \
  X(balance, MATRIX_BALANCES, "balance::")     \
  X(scalar, MATRIX_SCALARS, "")                \
  X(save, MATRIX_SAVES, "save::")              \
  X(backend, MATRIX_BACKENDS, "backend::")

// A router has its score for its last template parameter.  The axis has the routers that go through every pair of
// values; templates times scores are all others: the page has their verdicts, and each supported one is tested in one
// composition (score_compositions_<n>_test.cpp).
#define MATRIX_TEMPLATES(X, A)                             \
  X(A, top_1, page, top_k<1, Score>)                       \
  X(A, top_2, both, top_k<2, Score>)                       \
  X(A, group_limited, both, group_limited<2, 5, 3, Score>) \
  X(A, mixture, both, mixture<Score>)                      \
  X(A, expert_choice, both, expert_choice<Score>)          \
  X(A, positive, both, positive<Score>)                    \
  X(A, strictly_balanced, both, strictly_balanced<Score>)  \
  X(A, fixed, both, fixed<Score>)                          \
  X(A, hashed, both, hashed<Score>)
#define MATRIX_SCORES(X, A)                                                                     \
  X(A, softmax, both, score::softmax)                                                           \
  X(A, sigmoid, both, score::sigmoid)                                                           \
  X(A, relu, both, score::relu)                                                                 \
  X(A, one, both, score::one)                                                                   \
  X(A, noisy_constant, both, score::noisy_constant<>)                                           \
  X(A, noisy_learned, both, score::noisy_learned<>)                                             \
  X(A, standardized, both, score::standardized<>)                                               \
  X(A, logit_dropout, both, score::logit_dropout<>)                                             \
  X(A, gate_jitter, both, score::gate_jitter<>)                                                 \
  X(A, gate_dropout, both, score::gate_dropout<>)                                               \
  X(A, largest_softmax, both, score::largest_softmax<2>)                                        \
  X(A, sinkhorn, both, score::sinkhorn<>)                                                       \
  X(A, sinkhorn_plan, both, score::sinkhorn<score::by_plan>)                                    \
  X(A, sinkhorn_clean, both, score::noisy_constant<score::sinkhorn<score::by_clean_score>>)     \
  X(A, transport, both, score::sparse_transport<>)                                              \
  X(A, transport_lbfgs, both, score::sparse_transport<score::solver::lbfgs>)                    \
  X(A, transport_newton, both, score::sparse_transport<score::solver::newton>)                  \
  X(A, transport_plan, both, score::sparse_transport<score::solver::newton, score::by_plan>)    \
  X(A, transport_prices, both,                                                                  \
    score::sparse_transport<score::solver::newton, score::by_score, score::start::last_step>)   \
  X(A, transport_adam_plan, both, score::sparse_transport<score::solver::adam, score::by_plan>) \
  X(A, transport_clean, both,                                                                   \
    score::noisy_constant<score::sparse_transport<score::solver::adam, score::by_clean_score>>) \
  X(A, assignment, both, score::balanced_assignment<>)
// What may stand around a router: the page has the verdicts.
#define MATRIX_LINEAR_MAPS(X, A)                                          \
  X(A, bias, page, with_bias<Router>)                                     \
  X(A, cosine, page, with_cosine<Router>)                                 \
  X(A, cosine_of_units, page, with_cosine<Router, false>)                 \
  X(A, cosine_bias, page, with_bias<with_cosine<Router>>)                 \
  X(A, cosine_of_units_bias, page, with_bias<with_cosine<Router, false>>) \
  X(A, orthogonal, page, with_orthogonal<Router>)

namespace matrix {

using namespace polymoe;
using polymoe::cuda;   // not the CUDA toolkit's namespace
using polymoe::index;  // not the C library's

#define MATRIX_DIMENSION(A, list, prefix) A,
enum class dimension : int { MATRIX_AXES(MATRIX_DIMENSION) count };
#undef MATRIX_DIMENSION
inline constexpr int dimensions = static_cast<int>(dimension::count);

/// Sparse transport with `nonzeros` at everything: squared-l2 transport.
template <class Router>
struct without_limit : Router {
  constexpr without_limit() { this->nonzeros = Router::everything; }
};

// One enumeration an axis: router_values::top_1, ...
#define MATRIX_NUMBER(A, id, where, ...) id,
#define MATRIX_NUMBERS(A, list, prefix)                 \
  namespace A##_values {                                \
    enum number : int { list(MATRIX_NUMBER, A) count }; \
  }
MATRIX_AXES(MATRIX_NUMBERS)
#undef MATRIX_NUMBERS
#undef MATRIX_NUMBER

/// Where a value appears.
struct place {
  bool page, tests;
};
inline constexpr place both{true, true}, page{true, false}, tests{false, true};

/// Value number I of axis D: its type, identifier, text and place.
template <dimension D, int I>
struct value;
#define MATRIX_VALUE(A, id, where, ...)               \
  template <>                                         \
  struct value<dimension::A, A##_values::id> {        \
    using type = __VA_ARGS__;                         \
    static constexpr const char* name = #id;          \
    static constexpr const char* text = #__VA_ARGS__; \
    static constexpr place appears = where;           \
  };
#define MATRIX_VALUES(A, list, prefix) list(MATRIX_VALUE, A)
MATRIX_AXES(MATRIX_VALUES)
#undef MATRIX_VALUES
#undef MATRIX_VALUE

// router_template<T, Score>, score_value<S> and linear_map<M, Router>: the types of the lists of scores.
#define MATRIX_LISTED(A, id, where, ...) id,
namespace template_values {
enum number : int { MATRIX_TEMPLATES(MATRIX_LISTED, template) count };
}
namespace score_values {
enum number : int { MATRIX_SCORES(MATRIX_LISTED, score) count };
}
namespace linear_map_values {
enum number : int { MATRIX_LINEAR_MAPS(MATRIX_LISTED, map) count };
}
#undef MATRIX_LISTED
template <int T, class Score>
struct router_template;
#define MATRIX_TEMPLATE(A, id, where, ...)             \
  template <class Score>                               \
  struct router_template<template_values::id, Score> { \
    using type = __VA_ARGS__;                          \
  };
MATRIX_TEMPLATES(MATRIX_TEMPLATE, template)
#undef MATRIX_TEMPLATE
template <int S>
struct score_value;
#define MATRIX_SCORE(A, id, where, ...)  \
  template <>                            \
  struct score_value<score_values::id> { \
    using type = __VA_ARGS__;            \
  };
MATRIX_SCORES(MATRIX_SCORE, score)
#undef MATRIX_SCORE
template <int M, class Router>
struct linear_map;
#define MATRIX_LINEAR_MAP(A, id, where, ...)         \
  template <class Router>                            \
  struct linear_map<linear_map_values::id, Router> { \
    using type = __VA_ARGS__;                        \
  };
MATRIX_LINEAR_MAPS(MATRIX_LINEAR_MAP, map)
#undef MATRIX_LINEAR_MAP

/// The number of a template with a score, as a router: beyond those of the axis.
constexpr int scored_router(int t, int s) { return router_values::count + t * score_values::count + s; }
template <int I>
  requires(I >= router_values::count)
struct value<dimension::router, I> {
  static constexpr int number = I - router_values::count;
  using type = typename router_template<number / score_values::count,
                                        typename score_value<number % score_values::count>::type>::type;
};
// Their identifiers, router_values::top_2_of_softmax, ..., and as text.
#define MATRIX_OF_SCORE(T, id, where, ...) T##_of_##id,
#define MATRIX_OF_SCORES(A, id, where, ...) MATRIX_SCORES(MATRIX_OF_SCORE, id)
namespace router_values {
enum scored : int { before_scored = count - 1, MATRIX_TEMPLATES(MATRIX_OF_SCORES, template) all_routers };
}
#undef MATRIX_OF_SCORE
#define MATRIX_OF_SCORE(T, id, where, ...) #T "_of_" #id,
inline constexpr const char* scored_routers[] = {MATRIX_TEMPLATES(MATRIX_OF_SCORES, template)};
#undef MATRIX_OF_SCORES
#undef MATRIX_OF_SCORE
static_assert(int(router_values::all_routers) == scored_router(template_values::count, 0));

/// Numbers of values on each axis.
#define MATRIX_SIZE(A, list, prefix) A##_values::count,
inline constexpr int sizes[dimensions] = {MATRIX_AXES(MATRIX_SIZE)};
#undef MATRIX_SIZE
#define MATRIX_NAME(A, list, prefix) #A,
inline constexpr const char* axis_names[dimensions] = {MATRIX_AXES(MATRIX_NAME)};
#undef MATRIX_NAME
#define MATRIX_PREFIX(A, list, prefix) prefix,
inline constexpr const char* column_prefixes[dimensions] = {MATRIX_AXES(MATRIX_PREFIX)};
#undef MATRIX_PREFIX

/// One value of every axis, by number.
using point = std::array<int, dimensions>;

template <class Overflow, class Priority>
struct capacity_of {
  using type = capacity::bounded<Overflow, Priority>;
};
template <class Priority>
struct capacity_of<capacity::unlimited, Priority> {
  using type = capacity::unlimited;
};

/// The spec of a point; its backend is apart.
template <int R, int Cap, int P, int U, int E, int C, int B, int S, int V>
struct composed : spec {
  using router = typename value<dimension::router, R>::type;
  using capacity = typename capacity_of<typename value<dimension::capacity, Cap>::type,
                                        typename value<dimension::priority, P>::type>::type;
  using unit = typename value<dimension::unit, U>::type;
  using expert = typename value<dimension::expert, E>::type;
  using combine = typename value<dimension::combine, C>::type;
  using balance = typename value<dimension::balance, B>::type;
  using scalar = typename value<dimension::scalar, S>::type;
  using save = typename value<dimension::save, V>::type;
  static constexpr int most_experts = 8;  ///< kernels for rows of one length
  static constexpr point numbers{R, Cap, P, U, E, C, B, S, V, 0};
};

/// Number `way` of the ways to fill up a composition of which only some values are asked about.
inline constexpr int ways = 8;
constexpr point completion(int way) {
  const bool bounded = way & 1, maps = way & 2, steered = way & 4;
  return {steered ? router_values::positive : router_values::top_2_learned_noise,
          bounded ? capacity_values::drop_to_zero : capacity_values::unlimited,
          priority_values::position,
          maps ? unit_values::image_mean : unit_values::token,
          expert_values::mlp,
          combine_values::affinity,
          balance_values::none,
          scalar_values::f64,
          save_values::everything,
          backend_values::on_cpu};
}

/// An order of giving places means nothing where every wish has one: such points are the same as with the first order.
constexpr bool distinct(const point& p) {
  return p[static_cast<int>(dimension::capacity)] != capacity_values::unlimited ||
         p[static_cast<int>(dimension::priority)] == priority_values::position;
}

}  // namespace matrix
