// 753 compositions that meet all 552 supported triples of router, capacity and unit in double and all
// 2962 supported pairs of values of any two axes; 94 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: fourth
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(mixture_bias, unlimited, position, token, identity, affinity, z_loss, b16, without_output) \
  X(mixture_bias, unlimited, position, image_mean, conv_block_residual, over_chosen, kl_from_uniform, dual_f64, everything) \
  X(mixture_bias, unlimited, position, class_token, depthwise_block, over_kept, kl_as_coded, dual_f32, everything) \
  X(mixture_cosine_bias, unlimited, position, token, head, sum, none, f64, input) \
  X(mixture_cosine_bias, unlimited, position, image_mean, identity, over_chosen, importance, f64, nothing) \
  X(mixture_cosine_bias, unlimited, position, class_token, conv_block_residual, over_kept, importance_of_scores, f64, everything) \
  X(mixture_cosine_bias, unlimited, position, image_mean, conv_block, over_kept, kl_as_coded, f32, everything) \
  X(mixture_cosine_bias, unlimited, position, class_token, depthwise_block, sum, kl_to_uniform, b16, everything) \
  X(mixture_cosine_bias, unlimited, position, class_token, mlp, affinity, z_loss, dual_f64, pre_activation) \
  X(mixture_cosine_bias, unlimited, position, token, head, over_chosen, supervised, dual_f64, nothing_without_output) \
  X(mixture_cosine_bias, unlimited, position, token, gated_mlp, over_chosen, kl_from_uniform, dual_f32, without_output) \
  X(mixture_cosine_bias, unlimited, position, image_mean, identity, over_kept, of_scores, dual_f32, nothing) \
  X(mixture_sinkhorn_plan, unlimited, position, token, mlp, affinity, z_loss, f64, without_output) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, gated_mlp, sum, kl_from_uniform, f64, nothing_without_output) \
  X(mixture_sinkhorn_plan, unlimited, position, class_token, head, over_chosen, kl_as_coded, f64, pre_activation) \
  X(mixture_sinkhorn_plan, unlimited, position, token, head, affinity, none, f32, nothing) \
  X(mixture_sinkhorn_plan, unlimited, position, class_token, identity, over_kept, importance_of_scores, f32, input) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, conv_block, affinity, importance, b16, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, class_token, conv_block_residual, sum, of_scores, b16, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, class_token, conv_block_residual, sum, kl_to_uniform, dual_f64, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, depthwise_block, over_chosen, supervised, dual_f32, everything) \
  X(expert_choice, drop, gate, token, gated_mlp, over_chosen, none, f64, without_output) \
  X(expert_choice, drop, probability, image_mean, identity, over_kept, importance, f64, nothing_without_output) \
  X(expert_choice, drop, random, class_token, conv_block, affinity, importance_of_scores, f64, everything) \
  X(expert_choice, drop_to_zero, gate, token, head, sum, z_loss, f64, pre_activation) \
  X(expert_choice, drop_to_zero, probability, image_mean, conv_block_residual, over_chosen, kl_from_uniform, f64, everything) \
  X(expert_choice, drop_to_zero, random, class_token, mlp, over_kept, kl_as_coded, f64, input) \
  X(expert_choice, unlimited, position, token, identity, over_kept, kl_to_uniform, f64, input) \
  X(expert_choice, unlimited, position, image_mean, depthwise_block, affinity, supervised, f64, everything) \
  X(expert_choice, unlimited, position, class_token, mlp, sum, of_scores, f64, nothing) \
  X(expert_choice, drop, random, token, mlp, over_chosen, importance_of_scores, f32, pre_activation) \
  X(expert_choice, drop_to_zero, gate, image_mean, conv_block_residual, over_kept, z_loss, b16, everything) \
  X(expert_choice, drop, probability, token, gated_mlp, affinity, kl_from_uniform, dual_f64, without_output) \
  X(expert_choice, drop_to_zero, random, class_token, head, sum, kl_as_coded, dual_f32, nothing_without_output) \
  X(expert_choice_noise, drop, gate, token, identity, over_kept, none, f64, nothing_without_output) \
  X(expert_choice_noise, drop, probability, image_mean, mlp, affinity, importance, f64, pre_activation) \
  X(expert_choice_noise, drop, random, class_token, conv_block, sum, importance_of_scores, f64, everything) \
  X(expert_choice_noise, drop_to_zero, gate, token, gated_mlp, over_chosen, z_loss, f64, input) \
  X(expert_choice_noise, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, kl_from_uniform, f64, everything) \
  X(expert_choice_noise, drop_to_zero, random, class_token, depthwise_block, affinity, kl_as_coded, f64, everything) \
  X(expert_choice_noise, unlimited, position, token, gated_mlp, affinity, kl_to_uniform, f64, nothing) \
  X(expert_choice_noise, unlimited, position, image_mean, depthwise_block, sum, supervised, f64, everything) \
  X(expert_choice_noise, unlimited, position, class_token, head, over_chosen, of_scores, f64, without_output) \
  X(expert_choice_noise, drop, gate, token, identity, over_chosen, importance, f32, pre_activation) \
  X(expert_choice_noise, drop_to_zero, probability, image_mean, mlp, over_kept, importance_of_scores, b16, input) \
  X(expert_choice_noise, drop, random, class_token, depthwise_block, affinity, z_loss, dual_f64, everything) \
  X(expert_choice_noise, drop_to_zero, gate, token, gated_mlp, sum, kl_from_uniform, dual_f32, nothing) \
  X(expert_choice_bias, drop, gate, token, mlp, affinity, none, f64, nothing_without_output) \
  X(expert_choice_bias, drop, probability, image_mean, gated_mlp, sum, importance, f64, pre_activation) \
  X(expert_choice_bias, drop, random, class_token, identity, over_chosen, importance_of_scores, f64, input) \
  X(expert_choice_bias, drop_to_zero, gate, token, head, over_kept, z_loss, f64, nothing) \
  X(expert_choice_bias, drop_to_zero, probability, image_mean, conv_block_residual, affinity, kl_from_uniform, f64, everything) \
  X(expert_choice_bias, drop_to_zero, random, class_token, depthwise_block, sum, kl_as_coded, f64, everything) \
  X(expert_choice_bias, unlimited, position, token, head, sum, kl_to_uniform, f64, nothing) \
  X(expert_choice_bias, unlimited, position, image_mean, conv_block, over_chosen, supervised, f64, everything) \
  X(expert_choice_bias, unlimited, position, class_token, identity, over_kept, of_scores, f64, without_output) \
  X(expert_choice_bias, drop, probability, image_mean, conv_block, over_chosen, kl_as_coded, f32, everything) \
  X(expert_choice_bias, drop_to_zero, random, class_token, conv_block_residual, over_kept, kl_to_uniform, b16, everything) \
  X(expert_choice_bias, drop, gate, token, identity, affinity, supervised, dual_f64, without_output) \
  X(expert_choice_bias, drop_to_zero, probability, image_mean, depthwise_block, sum, of_scores, dual_f32, everything) \
  X(expert_choice_cosine, drop, gate, token, identity, sum, none, f64, pre_activation) \
  X(expert_choice_cosine, drop, probability, image_mean, mlp, over_chosen, importance, f64, input) \
  X(expert_choice_cosine, drop, random, class_token, conv_block_residual, over_kept, importance_of_scores, f64, everything) \
  X(expert_choice_cosine, drop_to_zero, gate, token, head, affinity, z_loss, f64, nothing) \
  X(expert_choice_cosine, drop_to_zero, probability, image_mean, depthwise_block, sum, kl_from_uniform, f64, everything) \
  X(expert_choice_cosine, drop_to_zero, random, class_token, conv_block, over_chosen, kl_as_coded, f64, everything) \
  X(expert_choice_cosine, unlimited, position, token, mlp, over_chosen, kl_to_uniform, f64, without_output) \
  X(expert_choice_cosine, unlimited, position, image_mean, conv_block, over_kept, supervised, f64, everything) \
  X(expert_choice_cosine, unlimited, position, class_token, gated_mlp, affinity, of_scores, f64, nothing_without_output) \
  X(expert_choice_cosine, drop_to_zero, random, class_token, head, over_chosen, importance, f32, nothing_without_output) \
  X(expert_choice_cosine, drop, gate, token, mlp, over_kept, importance_of_scores, b16, pre_activation) \
  X(expert_choice_cosine, drop, probability, image_mean, gated_mlp, affinity, z_loss, dual_f64, input) \
  X(expert_choice_cosine, drop_to_zero, random, class_token, conv_block, sum, kl_from_uniform, dual_f32, everything) \
  X(expert_choice_sinkhorn, drop, gate, token, identity, over_chosen, none, f64, pre_activation) \
  X(expert_choice_sinkhorn, drop, probability, image_mean, mlp, over_kept, importance, f64, input) \
  X(expert_choice_sinkhorn, drop, random, class_token, depthwise_block, affinity, importance_of_scores, f64, everything) \
  X(expert_choice_sinkhorn, drop_to_zero, gate, token, gated_mlp, sum, z_loss, f64, nothing) \
  X(expert_choice_sinkhorn, drop_to_zero, probability, image_mean, conv_block, over_chosen, kl_from_uniform, f64, everything) \
  X(expert_choice_sinkhorn, drop_to_zero, random, class_token, conv_block_residual, over_kept, kl_as_coded, f64, everything) \
  X(expert_choice_sinkhorn, unlimited, position, token, gated_mlp, over_kept, kl_to_uniform, f64, without_output) \
  X(expert_choice_sinkhorn, unlimited, position, image_mean, head, affinity, supervised, f64, nothing_without_output) \
  X(expert_choice_sinkhorn, unlimited, position, class_token, conv_block_residual, sum, of_scores, f64, everything) \
  X(expert_choice_sinkhorn, drop, gate, token, identity, over_chosen, kl_as_coded, f32, nothing) \
  X(expert_choice_sinkhorn, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, kl_to_uniform, b16, everything) \
  X(expert_choice_sinkhorn, drop_to_zero, random, class_token, head, affinity, supervised, dual_f64, without_output) \
  X(expert_choice_sinkhorn, drop, gate, image_mean, depthwise_block, sum, of_scores, dual_f32, everything) \
  X(expert_choice_sinkhorn_plan, drop, gate, token, mlp, over_kept, none, f64, pre_activation) \
  X(expert_choice_sinkhorn_plan, drop, probability, image_mean, gated_mlp, affinity, importance, f64, input) \
  X(expert_choice_sinkhorn_plan, drop, random, class_token, conv_block, sum, importance_of_scores, f64, everything) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, gate, token, head, over_chosen, z_loss, f64, nothing) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, kl_from_uniform, f64, everything) \
  X(expert_choice_sinkhorn_plan, drop_to_zero, random, class_token, depthwise_block, affinity, kl_as_coded, f64, everything) \
  X(expert_choice_sinkhorn_plan, unlimited, position, token, head, affinity, kl_to_uniform, f64, without_output) \
  X(expert_choice_sinkhorn_plan, unlimited, position, image_mean, depthwise_block, sum, supervised, f64, everything)

TEST_CASE("compositions, part 6") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
