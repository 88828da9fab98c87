// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 106 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: fourth
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(expert_choice, unlimited, position, class_token, conv_block_residual, affinity, of_scores, f64, everything) \
  X(expert_choice, drop, probability, image_mean, gated_mlp, sum, importance, f32, without_output) \
  X(expert_choice, drop_to_zero, random, class_token, conv_block, interpolated, importance_of_scores, b16, everything) \
  X(expert_choice, drop_to_zero, gate, token, head, over_chosen, z_loss, dual_f64, nothing_without_output) \
  X(expert_choice, drop, probability, image_mean, identity, over_kept, kl_from_uniform, dual_f32, pre_activation) \
  X(expert_choice_sigmoid, drop, gate, token, identity, affinity, none, f64, without_output) \
  X(expert_choice_sigmoid, drop, probability, image_mean, mlp, sum, importance, f64, nothing_without_output) \
  X(expert_choice_sigmoid, drop, random, class_token, conv_block, interpolated, importance_of_scores, f64, everything) \
  X(expert_choice_sigmoid, drop_to_zero, gate, token, gated_mlp, over_chosen, z_loss, f64, pre_activation) \
  X(expert_choice_sigmoid, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, kl_from_uniform, f64, everything) \
  X(expert_choice_sigmoid, drop_to_zero, random, class_token, depthwise_block, affinity, kl_as_coded, f64, everything) \
  X(expert_choice_sigmoid, unlimited, position, token, gated_mlp, interpolated, kl_to_uniform, f64, input) \
  X(expert_choice_sigmoid, unlimited, position, image_mean, depthwise_block, over_chosen, supervised, f64, everything) \
  X(expert_choice_sigmoid, unlimited, position, class_token, head, over_kept, of_scores, f64, nothing) \
  X(expert_choice_sigmoid, drop, random, class_token, conv_block, affinity, kl_as_coded, f32, everything) \
  X(expert_choice_sigmoid, drop_to_zero, gate, image_mean, conv_block_residual, sum, importance, b16, everything) \
  X(expert_choice_sigmoid, drop, probability, token, mlp, interpolated, importance_of_scores, dual_f64, input) \
  X(expert_choice_sigmoid, drop_to_zero, random, class_token, depthwise_block, over_chosen, z_loss, dual_f32, everything) \
  X(expert_choice_relu, drop, gate, token, mlp, over_kept, none, f64, without_output) \
  X(expert_choice_relu, drop, probability, image_mean, gated_mlp, affinity, importance, f64, nothing_without_output) \
  X(expert_choice_relu, drop, random, class_token, identity, sum, importance_of_scores, f64, pre_activation) \
  X(expert_choice_relu, drop_to_zero, gate, token, head, over_chosen, z_loss, f64, input) \
  X(expert_choice_relu, drop_to_zero, probability, image_mean, conv_block_residual, interpolated, kl_from_uniform, f64, everything) \
  X(expert_choice_relu, drop_to_zero, random, class_token, depthwise_block, over_kept, kl_as_coded, f64, everything) \
  X(expert_choice_relu, unlimited, position, token, head, sum, kl_to_uniform, f64, input) \
  X(expert_choice_relu, unlimited, position, image_mean, conv_block, interpolated, supervised, f64, everything) \
  X(expert_choice_relu, unlimited, position, class_token, identity, over_chosen, of_scores, f64, nothing) \
  X(expert_choice_relu, drop, gate, token, gated_mlp, over_kept, kl_from_uniform, f32, nothing) \
  X(expert_choice_relu, drop_to_zero, probability, image_mean, conv_block, affinity, kl_as_coded, b16, everything) \
  X(expert_choice_relu, drop, random, class_token, conv_block_residual, sum, kl_to_uniform, dual_f64, everything) \
  X(expert_choice_relu, drop_to_zero, gate, image_mean, depthwise_block, interpolated, supervised, dual_f32, everything) \
  X(expert_choice_noise, drop, gate, token, identity, over_chosen, none, f64, nothing_without_output) \
  X(expert_choice_noise, drop, probability, image_mean, conv_block_residual, over_kept, importance, f64, everything) \
  X(expert_choice_noise, drop, random, class_token, mlp, affinity, importance_of_scores, f64, pre_activation) \
  X(expert_choice_noise, drop_to_zero, gate, token, head, sum, z_loss, f64, input) \
  X(expert_choice_noise, drop_to_zero, probability, image_mean, depthwise_block, interpolated, kl_from_uniform, f64, everything) \
  X(expert_choice_noise, drop_to_zero, random, class_token, gated_mlp, over_chosen, kl_as_coded, f64, nothing) \
  X(expert_choice_noise, unlimited, position, token, mlp, affinity, kl_to_uniform, f64, nothing) \
  X(expert_choice_noise, unlimited, position, image_mean, gated_mlp, sum, supervised, f64, without_output) \
  X(expert_choice_noise, unlimited, position, class_token, conv_block, interpolated, of_scores, f64, everything) \
  X(expert_choice_noise, drop_to_zero, probability, token, head, over_chosen, of_scores, f32, without_output) \
  X(expert_choice_noise, drop, random, class_token, conv_block, over_kept, importance, b16, everything) \
  X(expert_choice_noise, drop, gate, token, identity, affinity, importance_of_scores, dual_f64, nothing_without_output) \
  X(expert_choice_noise, drop_to_zero, probability, image_mean, conv_block_residual, sum, z_loss, dual_f32, everything) \
  X(expert_choice_bias, drop, gate, token, mlp, interpolated, none, f64, pre_activation) \
  X(expert_choice_bias, drop, probability, image_mean, gated_mlp, over_chosen, importance, f64, input) \
  X(expert_choice_bias, drop, random, class_token, identity, over_kept, importance_of_scores, f64, nothing) \
  X(expert_choice_bias, drop_to_zero, gate, token, head, affinity, z_loss, f64, without_output) \
  X(expert_choice_bias, drop_to_zero, probability, image_mean, conv_block_residual, sum, kl_from_uniform, f64, everything) \
  X(expert_choice_bias, drop_to_zero, random, class_token, depthwise_block, interpolated, kl_as_coded, f64, everything) \
  X(expert_choice_bias, unlimited, position, token, head, over_kept, kl_to_uniform, f64, without_output) \
  X(expert_choice_bias, unlimited, position, image_mean, conv_block, affinity, supervised, f64, everything) \
  X(expert_choice_bias, unlimited, position, class_token, identity, sum, of_scores, f64, nothing_without_output) \
  X(expert_choice_bias, drop, random, class_token, depthwise_block, interpolated, kl_from_uniform, f32, everything) \
  X(expert_choice_bias, drop_to_zero, gate, token, mlp, over_chosen, kl_as_coded, b16, pre_activation) \
  X(expert_choice_bias, drop, probability, image_mean, gated_mlp, over_kept, kl_to_uniform, dual_f64, input) \
  X(expert_choice_bias, drop_to_zero, random, class_token, head, affinity, supervised, dual_f32, nothing) \
  X(expert_choice_cosine, drop, gate, token, identity, sum, none, f64, nothing) \
  X(expert_choice_cosine, drop, probability, image_mean, conv_block, interpolated, importance, f64, everything) \
  X(expert_choice_cosine, drop, random, class_token, conv_block_residual, over_chosen, importance_of_scores, f64, everything) \
  X(expert_choice_cosine, drop_to_zero, gate, token, mlp, over_kept, z_loss, f64, without_output) \
  X(expert_choice_cosine, drop_to_zero, probability, image_mean, depthwise_block, affinity, kl_from_uniform, f64, everything) \
  X(expert_choice_cosine, drop_to_zero, random, class_token, gated_mlp, sum, kl_as_coded, f64, nothing_without_output) \
  X(expert_choice_cosine, unlimited, position, token, mlp, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(expert_choice_cosine, unlimited, position, image_mean, gated_mlp, over_kept, supervised, f64, pre_activation) \
  X(expert_choice_cosine, unlimited, position, class_token, head, affinity, of_scores, f64, input) \
  X(expert_choice_cosine, drop, gate, token, identity, sum, of_scores, f32, without_output) \
  X(expert_choice_cosine, drop_to_zero, probability, image_mean, conv_block, interpolated, importance, b16, everything) \
  X(expert_choice_cosine, drop, random, class_token, mlp, over_chosen, importance_of_scores, dual_f64, nothing_without_output) \
  X(expert_choice_cosine, drop_to_zero, gate, token, gated_mlp, over_kept, z_loss, dual_f32, pre_activation) \
  X(expert_choice_sinkhorn, drop, gate, token, mlp, affinity, none, f64, nothing) \
  X(expert_choice_sinkhorn, drop, probability, image_mean, gated_mlp, sum, importance, f64, without_output) \
  X(expert_choice_sinkhorn, drop, random, class_token, identity, interpolated, importance_of_scores, f64, nothing_without_output) \
  X(expert_choice_sinkhorn, drop_to_zero, gate, token, head, over_chosen, z_loss, f64, pre_activation) \
  X(expert_choice_sinkhorn, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, kl_from_uniform, f64, everything) \
  X(expert_choice_sinkhorn, drop_to_zero, random, class_token, depthwise_block, affinity, kl_as_coded, f64, everything) \
  X(expert_choice_sinkhorn, unlimited, position, token, identity, interpolated, kl_to_uniform, f64, pre_activation) \
  X(expert_choice_sinkhorn, unlimited, position, image_mean, conv_block, over_chosen, supervised, f64, everything) \
  X(expert_choice_sinkhorn, unlimited, position, class_token, head, over_kept, of_scores, f64, input) \
  X(expert_choice_sinkhorn, drop_to_zero, probability, image_mean, head, affinity, kl_from_uniform, f32, input) \
  X(expert_choice_sinkhorn, drop, random, class_token, identity, sum, kl_as_coded, b16, nothing) \
  X(expert_choice_sinkhorn, drop, gate, token, mlp, interpolated, kl_to_uniform, dual_f64, without_output) \
  X(expert_choice_sinkhorn, drop_to_zero, probability, image_mean, gated_mlp, over_chosen, supervised, dual_f32, nothing_without_output) \
  X(expert_choice_sinkhorn_plan, drop, gate, token, identity, over_kept, none, f64, nothing_without_output) \
  X(expert_choice_sinkhorn_plan, drop, probability, image_mean, conv_block, affinity, importance, f64, everything) \
  X(expert_choice_sinkhorn_plan, drop, random, class_token, conv_block_residual, sum, importance_of_scores, f64, everything) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, gate, token, mlp, interpolated, z_loss, f64, pre_activation) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, probability, image_mean, depthwise_block, over_chosen, kl_from_uniform, f64, everything) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, random, class_token, conv_block, over_kept, kl_as_coded, f64, everything) \
  X(expert_choice_sinkhorn_plan, unlimited, position, token, mlp, sum, kl_to_uniform, f64, input) \
  X(expert_choice_sinkhorn_plan, unlimited, position, image_mean, gated_mlp, interpolated, supervised, f64, nothing) \
  X(expert_choice_sinkhorn_plan, unlimited, position, class_token, head, over_chosen, of_scores, f64, without_output) \
  X(expert_choice_sinkhorn_plan, drop, random, class_token, conv_block_residual, over_kept, of_scores, f32, everything) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, gate, image_mean, depthwise_block, affinity, importance, b16, everything) \
  X(expert_choice_sinkhorn_plan, drop, probability, class_token, conv_block, sum, importance_of_scores, dual_f64, everything) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, random, image_mean, conv_block_residual, interpolated, z_loss, dual_f32, everything) \
  X(expert_choice_transport, drop, gate, token, mlp, over_chosen, none, f64, without_output) \
  X(expert_choice_transport, drop, probability, image_mean, gated_mlp, over_kept, importance, f64, nothing_without_output) \
  X(expert_choice_transport, drop, random, class_token, depthwise_block, affinity, importance_of_scores, f64, everything) \
  X(expert_choice_transport, drop_to_zero, gate, token, head, sum, z_loss, f64, pre_activation) \
  X(expert_choice_transport, drop_to_zero, probability, image_mean, conv_block, interpolated, kl_from_uniform, f64, everything) \
  X(expert_choice_transport, drop_to_zero, random, class_token, head, over_chosen, kl_as_coded, f64, input) \
  X(expert_choice_transport, unlimited, position, token, gated_mlp, affinity, kl_to_uniform, f64, input) \
  X(expert_choice_transport, unlimited, position, image_mean, conv_block_residual, sum, supervised, f64, everything) \
  X(expert_choice_transport, unlimited, position, class_token, identity, interpolated, of_scores, f64, nothing) \
  X(expert_choice_transport, drop_to_zero, gate, token, head, over_chosen, kl_from_uniform, f32, pre_activation)

TEST_CASE("compositions, part 6") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
