// 111 compositions in double, one for every supported router and score that the axis of routers
// has not; 55 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: scores
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_of_one, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(top_2_of_transport_prices, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_sigmoid, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_relu, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_one, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_noisy_constant, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_noisy_learned, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_standardized, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_logit_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_gate_jitter, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_gate_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_largest_softmax, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_sinkhorn, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_sinkhorn_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_sinkhorn_clean, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_transport, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_transport_lbfgs, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_transport_newton, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_transport_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(group_limited_of_transport_prices, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_sigmoid, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_relu, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_one, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_noisy_constant, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_standardized, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_logit_dropout, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_gate_jitter, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_gate_dropout, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_largest_softmax, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_sinkhorn, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_sinkhorn_clean, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_transport, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_transport_lbfgs, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_transport_newton, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_transport_plan, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(mixture_of_transport_prices, unlimited, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_one, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_noisy_learned, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_standardized, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_logit_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_gate_jitter, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_gate_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_largest_softmax, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_sinkhorn_clean, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(expert_choice_of_transport_newton, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_softmax, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_sigmoid, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_one, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_noisy_constant, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_noisy_learned, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_standardized, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_logit_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_gate_jitter, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_gate_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_largest_softmax, drop, position, token, mlp, affinity, importance, f64, everything)

TEST_CASE("compositions of scores, part 0") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
