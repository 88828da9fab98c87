// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 106 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: third
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_transport, reroute, gate, class_token, conv_block, sum, of_scores, f64, everything) \
  X(top_2_transport, reroute, random, class_token, mlp, over_kept, importance, f32, input) \
  X(top_2_transport, identity, gate, image_mean, conv_block_residual, affinity, importance_of_scores, b16, everything) \
  X(top_2_transport, fallback, probability, class_token, depthwise_block, sum, z_loss, dual_f64, everything) \
  X(top_2_transport, reroute, random, token, gated_mlp, interpolated, kl_from_uniform, dual_f32, nothing) \
  X(top_2_transport_lbfgs, unlimited, position, token, mlp, interpolated, none, f64, pre_activation) \
  X(top_2_transport_lbfgs, identity, probability, token, identity, sum, none, f64, input) \
  X(top_2_transport_lbfgs, unlimited, position, image_mean, gated_mlp, over_chosen, importance, f64, input) \
  X(top_2_transport_lbfgs, identity, random, image_mean, mlp, interpolated, importance, f64, nothing) \
  X(top_2_transport_lbfgs, unlimited, position, class_token, head, over_kept, importance_of_scores, f64, nothing) \
  X(top_2_transport_lbfgs, identity, gate, class_token, conv_block_residual, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_transport_lbfgs, drop, probability, token, identity, affinity, z_loss, f64, without_output) \
  X(top_2_transport_lbfgs, fallback, probability, token, head, over_kept, z_loss, f64, without_output) \
  X(top_2_transport_lbfgs, drop, random, image_mean, conv_block_residual, sum, kl_from_uniform, f64, everything) \
  X(top_2_transport_lbfgs, fallback, random, image_mean, gated_mlp, affinity, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_transport_lbfgs, drop, gate, class_token, depthwise_block, interpolated, kl_as_coded, f64, everything) \
  X(top_2_transport_lbfgs, fallback, position, class_token, depthwise_block, sum, kl_as_coded, f64, everything) \
  X(top_2_transport_lbfgs, drop_to_zero, probability, token, mlp, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_transport_lbfgs, reroute, gate, token, identity, interpolated, kl_to_uniform, f64, pre_activation) \
  X(top_2_transport_lbfgs, drop_to_zero, random, image_mean, conv_block, over_kept, supervised, f64, everything) \
  X(top_2_transport_lbfgs, reroute, probability, image_mean, conv_block, over_chosen, supervised, f64, everything) \
  X(top_2_transport_lbfgs, drop_to_zero, gate, class_token, gated_mlp, affinity, of_scores, f64, pre_activation) \
  X(top_2_transport_lbfgs, reroute, random, class_token, mlp, over_kept, of_scores, f64, input) \
  X(top_2_transport_lbfgs, identity, gate, token, identity, over_chosen, kl_as_coded, f32, without_output) \
  X(top_2_transport_lbfgs, fallback, probability, image_mean, head, over_kept, kl_to_uniform, b16, nothing_without_output) \
  X(top_2_transport_lbfgs, reroute, random, class_token, conv_block, affinity, supervised, dual_f64, everything) \
  X(top_2_transport_lbfgs, identity, gate, image_mean, conv_block_residual, sum, of_scores, dual_f32, everything) \
  X(top_2_transport_newton, unlimited, position, token, head, affinity, none, f64, nothing) \
  X(top_2_transport_newton, identity, gate, token, identity, over_kept, none, f64, without_output) \
  X(top_2_transport_newton, unlimited, position, image_mean, gated_mlp, sum, importance, f64, without_output) \
  X(top_2_transport_newton, identity, probability, image_mean, conv_block_residual, affinity, importance, f64, everything) \
  X(top_2_transport_newton, unlimited, position, class_token, conv_block_residual, interpolated, importance_of_scores, f64, everything) \
  X(top_2_transport_newton, identity, random, class_token, mlp, sum, importance_of_scores, f64, nothing_without_output) \
  X(top_2_transport_newton, drop, gate, token, identity, over_chosen, z_loss, f64, nothing_without_output) \
  X(top_2_transport_newton, fallback, position, token, head, over_chosen, z_loss, f64, pre_activation) \
  X(top_2_transport_newton, drop, probability, image_mean, mlp, over_kept, kl_from_uniform, f64, pre_activation) \
  X(top_2_transport_newton, fallback, gate, image_mean, gated_mlp, interpolated, kl_from_uniform, f64, input) \
  X(top_2_transport_newton, drop, random, class_token, gated_mlp, affinity, kl_as_coded, f64, input) \
  X(top_2_transport_newton, fallback, probability, class_token, head, over_kept, kl_as_coded, f64, nothing) \
  X(top_2_transport_newton, drop_to_zero, gate, token, head, sum, kl_to_uniform, f64, nothing) \
  X(top_2_transport_newton, reroute, random, token, identity, affinity, kl_to_uniform, f64, without_output) \
  X(top_2_transport_newton, drop_to_zero, probability, image_mean, depthwise_block, interpolated, supervised, f64, everything) \
  X(top_2_transport_newton, reroute, position, image_mean, depthwise_block, sum, supervised, f64, everything) \
  X(top_2_transport_newton, drop_to_zero, random, class_token, conv_block, over_chosen, of_scores, f64, everything) \
  X(top_2_transport_newton, reroute, gate, class_token, conv_block, interpolated, of_scores, f64, everything) \
  X(top_2_transport_newton, fallback, probability, token, mlp, interpolated, importance, f32, pre_activation) \
  X(top_2_transport_newton, reroute, random, class_token, depthwise_block, over_chosen, importance_of_scores, b16, everything) \
  X(top_2_transport_newton, identity, gate, token, gated_mlp, over_kept, z_loss, dual_f64, input) \
  X(top_2_transport_newton, fallback, probability, image_mean, conv_block, affinity, kl_from_uniform, dual_f32, everything) \
  X(top_2_transport_plan, unlimited, position, token, mlp, over_chosen, none, f64, nothing_without_output) \
  X(top_2_transport_plan, identity, probability, token, gated_mlp, interpolated, none, f64, nothing_without_output) \
  X(top_2_transport_plan, unlimited, position, image_mean, conv_block_residual, over_kept, importance, f64, everything) \
  X(top_2_transport_plan, identity, random, image_mean, depthwise_block, over_chosen, importance, f64, everything) \
  X(top_2_transport_plan, unlimited, position, class_token, gated_mlp, affinity, importance_of_scores, f64, pre_activation) \
  X(top_2_transport_plan, identity, gate, class_token, identity, over_kept, importance_of_scores, f64, pre_activation) \
  X(top_2_transport_plan, drop, probability, token, identity, sum, z_loss, f64, input) \
  X(top_2_transport_plan, fallback, probability, token, head, affinity, z_loss, f64, input) \
  X(top_2_transport_plan, drop, random, image_mean, depthwise_block, interpolated, kl_from_uniform, f64, everything) \
  X(top_2_transport_plan, fallback, random, image_mean, conv_block, sum, kl_from_uniform, f64, everything) \
  X(top_2_transport_plan, drop, gate, class_token, mlp, over_chosen, kl_as_coded, f64, nothing) \
  X(top_2_transport_plan, fallback, position, class_token, conv_block_residual, interpolated, kl_as_coded, f64, everything) \
  X(top_2_transport_plan, drop_to_zero, probability, token, head, over_kept, kl_to_uniform, f64, without_output) \
  X(top_2_transport_plan, reroute, gate, token, mlp, over_chosen, kl_to_uniform, f64, nothing) \
  X(top_2_transport_plan, drop_to_zero, random, image_mean, conv_block, affinity, supervised, f64, everything) \
  X(top_2_transport_plan, reroute, probability, image_mean, gated_mlp, over_kept, supervised, f64, without_output) \
  X(top_2_transport_plan, drop_to_zero, gate, class_token, conv_block_residual, sum, of_scores, f64, everything) \
  X(top_2_transport_plan, reroute, random, class_token, identity, affinity, of_scores, f64, nothing_without_output) \
  X(top_2_transport_plan, reroute, random, class_token, conv_block_residual, sum, kl_as_coded, f32, everything) \
  X(top_2_transport_plan, identity, gate, token, identity, interpolated, kl_to_uniform, b16, nothing) \
  X(top_2_transport_plan, fallback, probability, image_mean, depthwise_block, over_chosen, supervised, dual_f64, everything) \
  X(top_2_transport_plan, reroute, random, class_token, mlp, over_kept, of_scores, dual_f32, without_output) \
  X(top_2_transport_dense, unlimited, position, token, head, sum, none, f64, pre_activation) \
  X(top_2_transport_dense, identity, gate, token, identity, affinity, none, f64, input) \
  X(top_2_transport_dense, unlimited, position, image_mean, depthwise_block, interpolated, importance, f64, everything) \
  X(top_2_transport_dense, identity, probability, image_mean, depthwise_block, sum, importance, f64, everything) \
  X(top_2_transport_dense, unlimited, position, class_token, mlp, over_chosen, importance_of_scores, f64, input) \
  X(top_2_transport_dense, identity, random, class_token, mlp, interpolated, importance_of_scores, f64, nothing) \
  X(top_2_transport_dense, drop, gate, token, gated_mlp, over_kept, z_loss, f64, nothing) \
  X(top_2_transport_dense, fallback, position, token, head, over_chosen, z_loss, f64, without_output) \
  X(top_2_transport_dense, drop, probability, image_mean, identity, affinity, kl_from_uniform, f64, without_output) \
  X(top_2_transport_dense, fallback, gate, image_mean, head, over_kept, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_transport_dense, drop, random, class_token, mlp, sum, kl_as_coded, f64, nothing_without_output) \
  X(top_2_transport_dense, fallback, probability, class_token, gated_mlp, affinity, kl_as_coded, f64, pre_activation) \
  X(top_2_transport_dense, drop_to_zero, gate, token, gated_mlp, interpolated, kl_to_uniform, f64, pre_activation) \
  X(top_2_transport_dense, reroute, random, token, identity, sum, kl_to_uniform, f64, input) \
  X(top_2_transport_dense, drop_to_zero, probability, image_mean, conv_block, over_chosen, supervised, f64, everything) \
  X(top_2_transport_dense, reroute, position, image_mean, conv_block, interpolated, supervised, f64, everything) \
  X(top_2_transport_dense, drop_to_zero, random, class_token, conv_block_residual, over_kept, of_scores, f64, everything) \
  X(top_2_transport_dense, reroute, gate, class_token, mlp, over_chosen, of_scores, f64, nothing) \
  X(top_2_transport_dense, fallback, gate, token, head, affinity, importance, f32, nothing_without_output) \
  X(top_2_transport_dense, identity, probability, image_mean, conv_block, sum, importance_of_scores, b16, everything) \
  X(top_2_transport_dense, reroute, random, class_token, conv_block_residual, interpolated, z_loss, dual_f64, everything) \
  X(top_2_transport_dense, identity, gate, token, gated_mlp, over_chosen, kl_from_uniform, dual_f32, pre_activation) \
  X(top_1_balanced, unlimited, position, token, head, over_kept, none, f64, without_output) \
  X(top_1_balanced, identity, probability, token, identity, over_chosen, none, f64, nothing_without_output) \
  X(top_1_balanced, unlimited, position, image_mean, gated_mlp, affinity, importance, f64, nothing_without_output) \
  X(top_1_balanced, identity, random, image_mean, mlp, over_kept, importance, f64, pre_activation) \
  X(top_1_balanced, unlimited, position, class_token, identity, sum, importance_of_scores, f64, pre_activation) \
  X(top_1_balanced, identity, gate, class_token, conv_block_residual, affinity, importance_of_scores, f64, everything) \
  X(top_1_balanced, drop, probability, token, mlp, interpolated, z_loss, f64, input) \
  X(top_1_balanced, fallback, probability, token, head, sum, z_loss, f64, input) \
  X(top_1_balanced, drop, random, image_mean, conv_block_residual, over_chosen, kl_from_uniform, f64, everything) \
  X(top_1_balanced, fallback, random, image_mean, gated_mlp, interpolated, kl_from_uniform, f64, nothing) \
  X(top_1_balanced, drop, gate, class_token, gated_mlp, over_kept, kl_as_coded, f64, nothing) \
  X(top_1_balanced, fallback, position, class_token, depthwise_block, over_chosen, kl_as_coded, f64, everything) \
  X(top_1_balanced, drop_to_zero, probability, token, head, affinity, kl_to_uniform, f64, without_output)

TEST_CASE("compositions, part 4") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
