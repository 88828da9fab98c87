// 753 compositions that meet all 552 supported triples of router, capacity and unit in double and all
// 2962 supported pairs of values of any two axes; 94 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: third
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_sinkhorn_plan, drop_to_zero, gate, token, head, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_sinkhorn_plan, reroute, random, token, identity, over_kept, kl_to_uniform, f64, pre_activation) \
  X(top_2_sinkhorn_plan, drop_to_zero, probability, image_mean, depthwise_block, over_kept, supervised, f64, everything) \
  X(top_2_sinkhorn_plan, reroute, position, image_mean, depthwise_block, affinity, supervised, f64, everything) \
  X(top_2_sinkhorn_plan, drop_to_zero, random, class_token, conv_block, affinity, of_scores, f64, everything) \
  X(top_2_sinkhorn_plan, reroute, gate, class_token, conv_block, sum, of_scores, f64, everything) \
  X(top_2_sinkhorn_plan, identity, gate, token, mlp, affinity, importance, f32, pre_activation) \
  X(top_2_sinkhorn_plan, fallback, probability, image_mean, gated_mlp, sum, importance_of_scores, b16, input) \
  X(top_2_sinkhorn_plan, reroute, random, class_token, conv_block_residual, over_chosen, kl_from_uniform, dual_f64, everything) \
  X(top_2_sinkhorn_plan, identity, gate, image_mean, depthwise_block, over_kept, kl_as_coded, dual_f32, everything) \
  X(top_2_sinkhorn_clean, unlimited, position, token, mlp, over_chosen, none, f64, input) \
  X(top_2_sinkhorn_clean, identity, probability, token, identity, over_kept, none, f64, nothing) \
  X(top_2_sinkhorn_clean, unlimited, position, image_mean, gated_mlp, over_kept, importance, f64, nothing) \
  X(top_2_sinkhorn_clean, identity, random, image_mean, mlp, affinity, importance, f64, without_output) \
  X(top_2_sinkhorn_clean, unlimited, position, class_token, head, affinity, importance_of_scores, f64, without_output) \
  X(top_2_sinkhorn_clean, identity, gate, class_token, conv_block_residual, sum, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn_clean, drop, probability, token, identity, sum, z_loss, f64, nothing_without_output) \
  X(top_2_sinkhorn_clean, fallback, probability, token, head, over_chosen, z_loss, f64, nothing_without_output) \
  X(top_2_sinkhorn_clean, drop, random, image_mean, conv_block_residual, over_chosen, kl_from_uniform, f64, everything) \
  X(top_2_sinkhorn_clean, fallback, random, image_mean, gated_mlp, over_kept, kl_from_uniform, f64, pre_activation) \
  X(top_2_sinkhorn_clean, drop, gate, class_token, depthwise_block, over_kept, kl_as_coded, f64, everything) \
  X(top_2_sinkhorn_clean, fallback, position, class_token, head, affinity, kl_as_coded, f64, input) \
  X(top_2_sinkhorn_clean, drop_to_zero, probability, token, mlp, affinity, kl_to_uniform, f64, pre_activation) \
  X(top_2_sinkhorn_clean, reroute, gate, token, identity, sum, kl_to_uniform, f64, nothing) \
  X(top_2_sinkhorn_clean, drop_to_zero, random, image_mean, conv_block, sum, supervised, f64, everything) \
  X(top_2_sinkhorn_clean, reroute, probability, image_mean, depthwise_block, over_chosen, supervised, f64, everything) \
  X(top_2_sinkhorn_clean, drop_to_zero, gate, class_token, gated_mlp, over_chosen, of_scores, f64, input) \
  X(top_2_sinkhorn_clean, reroute, random, class_token, conv_block, over_kept, of_scores, f64, everything) \
  X(top_2_sinkhorn_clean, fallback, probability, token, head, affinity, kl_to_uniform, f32, nothing) \
  X(top_2_sinkhorn_clean, reroute, random, class_token, conv_block, sum, supervised, b16, everything) \
  X(top_2_sinkhorn_clean, identity, gate, token, identity, over_chosen, of_scores, dual_f64, without_output) \
  X(top_2_sinkhorn_clean, fallback, probability, image_mean, mlp, over_kept, importance, dual_f32, nothing_without_output) \
  X(top_2_transport, unlimited, position, token, mlp, affinity, none, f64, without_output) \
  X(top_2_transport, identity, gate, token, identity, sum, none, f64, nothing_without_output) \
  X(top_2_transport, unlimited, position, image_mean, gated_mlp, sum, importance, f64, nothing_without_output) \
  X(top_2_transport, identity, probability, image_mean, mlp, over_chosen, importance, f64, pre_activation) \
  X(top_2_transport, unlimited, position, class_token, head, over_chosen, importance_of_scores, f64, pre_activation) \
  X(top_2_transport, identity, random, class_token, conv_block_residual, over_kept, importance_of_scores, f64, everything) \
  X(top_2_transport, drop, gate, token, identity, over_kept, z_loss, f64, input) \
  X(top_2_transport, fallback, position, token, head, affinity, z_loss, f64, input) \
  X(top_2_transport, drop, probability, image_mean, conv_block_residual, affinity, kl_from_uniform, f64, everything) \
  X(top_2_transport, fallback, gate, image_mean, depthwise_block, sum, kl_from_uniform, f64, everything) \
  X(top_2_transport, drop, random, class_token, mlp, sum, kl_as_coded, f64, nothing) \
  X(top_2_transport, fallback, probability, class_token, conv_block, over_chosen, kl_as_coded, f64, everything) \
  X(top_2_transport, drop_to_zero, gate, token, gated_mlp, over_chosen, kl_to_uniform, f64, without_output) \
  X(top_2_transport, reroute, random, token, gated_mlp, over_kept, kl_to_uniform, f64, nothing) \
  X(top_2_transport, drop_to_zero, probability, image_mean, depthwise_block, over_kept, supervised, f64, everything) \
  X(top_2_transport, reroute, position, image_mean, conv_block_residual, affinity, supervised, f64, everything) \
  X(top_2_transport, drop_to_zero, random, class_token, conv_block, affinity, of_scores, f64, everything) \
  X(top_2_transport, reroute, gate, class_token, depthwise_block, sum, of_scores, f64, everything) \
  X(top_2_transport, reroute, random, class_token, conv_block_residual, affinity, importance_of_scores, f32, everything) \
  X(top_2_transport, identity, gate, token, gated_mlp, sum, z_loss, b16, pre_activation) \
  X(top_2_transport, fallback, probability, image_mean, depthwise_block, over_chosen, kl_from_uniform, dual_f64, everything) \
  X(top_2_transport, reroute, random, class_token, conv_block, over_kept, kl_as_coded, dual_f32, everything) \
  X(top_2_transport_lbfgs, unlimited, position, token, head, over_chosen, none, f64, without_output) \
  X(top_2_transport_lbfgs, identity, probability, token, mlp, over_kept, none, f64, nothing_without_output) \
  X(top_2_transport_lbfgs, unlimited, position, image_mean, identity, over_kept, importance, f64, nothing_without_output) \
  X(top_2_transport_lbfgs, identity, random, image_mean, gated_mlp, affinity, importance, f64, pre_activation) \
  X(top_2_transport_lbfgs, unlimited, position, class_token, mlp, affinity, importance_of_scores, f64, pre_activation) \
  X(top_2_transport_lbfgs, identity, gate, class_token, conv_block, sum, importance_of_scores, f64, everything) \
  X(top_2_transport_lbfgs, drop, probability, token, gated_mlp, sum, z_loss, f64, input) \
  X(top_2_transport_lbfgs, fallback, probability, token, head, over_chosen, z_loss, f64, input) \
  X(top_2_transport_lbfgs, drop, random, image_mean, conv_block, over_chosen, kl_from_uniform, f64, everything) \
  X(top_2_transport_lbfgs, fallback, random, image_mean, identity, over_kept, kl_from_uniform, f64, nothing) \
  X(top_2_transport_lbfgs, drop, gate, class_token, conv_block_residual, over_kept, kl_as_coded, f64, everything) \
  X(top_2_transport_lbfgs, fallback, position, class_token, conv_block_residual, affinity, kl_as_coded, f64, everything) \
  X(top_2_transport_lbfgs, drop_to_zero, probability, token, head, affinity, kl_to_uniform, f64, nothing) \
  X(top_2_transport_lbfgs, reroute, gate, token, mlp, sum, kl_to_uniform, f64, without_output) \
  X(top_2_transport_lbfgs, drop_to_zero, random, image_mean, depthwise_block, sum, supervised, f64, everything) \
  X(top_2_transport_lbfgs, reroute, probability, image_mean, depthwise_block, over_chosen, supervised, f64, everything) \
  X(top_2_transport_lbfgs, drop_to_zero, gate, class_token, identity, over_chosen, of_scores, f64, without_output) \
  X(top_2_transport_lbfgs, reroute, random, class_token, gated_mlp, over_kept, of_scores, f64, nothing_without_output) \
  X(top_2_transport_lbfgs, fallback, gate, token, head, affinity, kl_to_uniform, f32, input) \
  X(top_2_transport_lbfgs, identity, probability, image_mean, identity, sum, supervised, b16, nothing) \
  X(top_2_transport_lbfgs, reroute, random, class_token, conv_block_residual, over_chosen, of_scores, dual_f64, everything) \
  X(top_2_transport_lbfgs, identity, gate, token, mlp, over_kept, importance, dual_f32, without_output) \
  X(top_2_transport_newton, unlimited, position, token, head, affinity, none, f64, pre_activation) \
  X(top_2_transport_newton, identity, gate, token, mlp, sum, none, f64, input) \
  X(top_2_transport_newton, unlimited, position, image_mean, identity, sum, importance, f64, input) \
  X(top_2_transport_newton, identity, probability, image_mean, conv_block, over_chosen, importance, f64, everything) \
  X(top_2_transport_newton, unlimited, position, class_token, conv_block, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_transport_newton, identity, random, class_token, gated_mlp, over_kept, importance_of_scores, f64, nothing) \
  X(top_2_transport_newton, drop, gate, token, mlp, over_kept, z_loss, f64, nothing) \
  X(top_2_transport_newton, fallback, position, token, head, affinity, z_loss, f64, without_output) \
  X(top_2_transport_newton, drop, probability, image_mean, gated_mlp, affinity, kl_from_uniform, f64, without_output) \
  X(top_2_transport_newton, fallback, gate, image_mean, identity, sum, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_transport_newton, drop, random, class_token, identity, sum, kl_as_coded, f64, nothing_without_output) \
  X(top_2_transport_newton, fallback, probability, class_token, mlp, over_chosen, kl_as_coded, f64, pre_activation) \
  X(top_2_transport_newton, drop_to_zero, gate, token, head, over_chosen, kl_to_uniform, f64, pre_activation) \
  X(top_2_transport_newton, reroute, random, token, gated_mlp, over_kept, kl_to_uniform, f64, input) \
  X(top_2_transport_newton, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, supervised, f64, everything) \
  X(top_2_transport_newton, reroute, position, image_mean, conv_block_residual, affinity, supervised, f64, everything) \
  X(top_2_transport_newton, drop_to_zero, random, class_token, depthwise_block, affinity, of_scores, f64, everything) \
  X(top_2_transport_newton, reroute, gate, class_token, depthwise_block, sum, of_scores, f64, everything)

TEST_CASE("compositions, part 4") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
