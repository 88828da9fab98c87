// 111 compositions in double, one for every supported router and score that the axis of routers
// has not; 56 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: scores
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(positive_of_sinkhorn, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_sinkhorn_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_sinkhorn_clean, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_transport, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_transport_lbfgs, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_transport_newton, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_transport_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(positive_of_transport_prices, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_sigmoid, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_relu, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_one, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_noisy_constant, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_noisy_learned, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_standardized, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_logit_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_gate_jitter, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_gate_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(strictly_balanced_of_largest_softmax, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_softmax, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_sigmoid, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_relu, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_noisy_constant, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_noisy_learned, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_standardized, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_logit_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_gate_jitter, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_gate_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_largest_softmax, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_sinkhorn, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_sinkhorn_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_sinkhorn_clean, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_transport, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_transport_lbfgs, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_transport_newton, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_transport_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_transport_prices, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(fixed_of_assignment, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_sigmoid, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_relu, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_one, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_noisy_constant, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_noisy_learned, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_standardized, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_logit_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_gate_jitter, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_gate_dropout, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_largest_softmax, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_sinkhorn, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_sinkhorn_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_sinkhorn_clean, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_transport, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_transport_lbfgs, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_transport_newton, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_transport_plan, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_transport_prices, drop, position, token, mlp, affinity, importance, f64, everything) \
  X(hashed_of_assignment, drop, position, token, mlp, affinity, importance, f64, everything)

TEST_CASE("compositions of scores, part 1") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
