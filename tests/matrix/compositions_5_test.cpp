// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 106 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: third
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_1_balanced, reroute, gate, token, identity, over_kept, kl_to_uniform, f64, without_output) \
  X(top_1_balanced, drop_to_zero, random, image_mean, depthwise_block, sum, supervised, f64, everything) \
  X(top_1_balanced, reroute, probability, image_mean, mlp, affinity, supervised, f64, nothing_without_output) \
  X(top_1_balanced, drop_to_zero, gate, class_token, conv_block, interpolated, of_scores, f64, everything) \
  X(top_1_balanced, reroute, random, class_token, gated_mlp, sum, of_scores, f64, pre_activation) \
  X(top_1_balanced, fallback, probability, image_mean, head, over_kept, kl_as_coded, f32, input) \
  X(top_1_balanced, reroute, random, class_token, identity, affinity, kl_to_uniform, b16, nothing) \
  X(top_1_balanced, identity, gate, token, mlp, sum, supervised, dual_f64, without_output) \
  X(top_1_balanced, fallback, probability, image_mean, gated_mlp, interpolated, of_scores, dual_f32, nothing_without_output) \
  X(fixed, drop, gate, token, mlp, affinity, none, f64, without_output) \
  X(fixed, drop, probability, image_mean, gated_mlp, sum, importance, f64, nothing_without_output) \
  X(fixed, drop, random, class_token, conv_block_residual, interpolated, importance_of_scores, f64, everything) \
  X(fixed, drop_to_zero, gate, token, head, over_chosen, z_loss, f64, pre_activation) \
  X(fixed, drop_to_zero, probability, image_mean, depthwise_block, over_kept, kl_from_uniform, f64, everything) \
  X(fixed, drop_to_zero, random, class_token, head, affinity, kl_as_coded, f64, input) \
  X(fixed, identity, gate, token, identity, sum, kl_to_uniform, f64, nothing) \
  X(fixed, identity, probability, image_mean, mlp, interpolated, supervised, f64, without_output) \
  X(fixed, unlimited, position, token, identity, interpolated, switch_loss, f64, input) \
  X(fixed, fallback, position, token, gated_mlp, over_kept, switch_loss, f64, nothing_without_output) \
  X(fixed, reroute, random, token, mlp, interpolated, switch_loss, f64, nothing) \
  X(fixed, unlimited, position, image_mean, head, over_chosen, gshard, f64, nothing) \
  X(fixed, fallback, gate, image_mean, head, affinity, gshard, f64, pre_activation) \
  X(fixed, reroute, position, image_mean, conv_block_residual, over_chosen, gshard, f64, everything) \
  X(fixed, unlimited, position, class_token, conv_block, over_kept, loss_free_bias, f64, everything) \
  X(fixed, fallback, probability, class_token, identity, sum, loss_free_bias, f64, input) \
  X(fixed, reroute, gate, class_token, gated_mlp, over_kept, loss_free_bias, f64, without_output) \
  X(fixed, identity, random, class_token, conv_block, over_chosen, of_scores, f64, everything) \
  X(fixed, reroute, random, class_token, depthwise_block, over_chosen, loss_free_bias, f32, everything) \
  X(fixed, fallback, gate, token, head, over_kept, switch_loss, b16, pre_activation) \
  X(fixed, identity, probability, image_mean, identity, affinity, gshard, dual_f64, input) \
  X(fixed, reroute, random, class_token, mlp, sum, loss_free_bias, dual_f32, nothing) \
  X(hashed, drop, probability, token, mlp, over_chosen, none, f64, input) \
  X(hashed, drop, random, image_mean, gated_mlp, over_kept, importance, f64, nothing) \
  X(hashed, drop, gate, class_token, identity, affinity, importance_of_scores, f64, without_output) \
  X(hashed, drop_to_zero, probability, token, head, sum, z_loss, f64, nothing_without_output) \
  X(hashed, drop_to_zero, random, image_mean, conv_block, interpolated, kl_from_uniform, f64, everything) \
  X(hashed, drop_to_zero, gate, class_token, conv_block_residual, over_chosen, kl_as_coded, f64, everything) \
  X(hashed, identity, probability, token, mlp, over_kept, kl_to_uniform, f64, pre_activation) \
  X(hashed, identity, random, image_mean, gated_mlp, affinity, supervised, f64, input) \
  X(hashed, unlimited, position, token, head, affinity, switch_loss, f64, nothing_without_output) \
  X(hashed, fallback, probability, token, identity, interpolated, switch_loss, f64, nothing) \
  X(hashed, reroute, gate, token, mlp, affinity, switch_loss, f64, without_output) \
  X(hashed, unlimited, position, image_mean, identity, sum, gshard, f64, pre_activation) \
  X(hashed, fallback, random, image_mean, conv_block, over_chosen, gshard, f64, everything) \
  X(hashed, reroute, probability, image_mean, depthwise_block, sum, gshard, f64, everything) \
  X(hashed, unlimited, position, class_token, depthwise_block, interpolated, loss_free_bias, f64, everything) \
  X(hashed, fallback, position, class_token, conv_block_residual, over_kept, loss_free_bias, f64, everything) \
  X(hashed, reroute, random, class_token, gated_mlp, interpolated, loss_free_bias, f64, nothing_without_output) \
  X(hashed, identity, gate, class_token, depthwise_block, sum, of_scores, f64, everything) \
  X(hashed, identity, gate, token, gated_mlp, interpolated, switch_loss, f32, without_output) \
  X(hashed, fallback, probability, image_mean, head, over_chosen, gshard, b16, nothing_without_output) \
  X(hashed, reroute, random, class_token, conv_block, over_kept, loss_free_bias, dual_f64, everything) \
  X(hashed, identity, gate, token, identity, affinity, switch_loss, dual_f32, pre_activation) \
  X(mixture, unlimited, position, token, head, over_chosen, none, f64, pre_activation) \
  X(mixture, unlimited, position, image_mean, identity, over_kept, importance, f64, input) \
  X(mixture, unlimited, position, class_token, mlp, affinity, importance_of_scores, f64, nothing) \
  X(mixture, unlimited, position, image_mean, gated_mlp, sum, z_loss, f32, without_output) \
  X(mixture, unlimited, position, token, mlp, affinity, supervised, f32, nothing_without_output) \
  X(mixture, unlimited, position, class_token, conv_block, interpolated, kl_from_uniform, b16, everything) \
  X(mixture, unlimited, position, token, head, sum, of_scores, b16, input) \
  X(mixture, unlimited, position, image_mean, conv_block_residual, over_chosen, kl_as_coded, dual_f64, everything) \
  X(mixture, unlimited, position, class_token, depthwise_block, over_kept, kl_to_uniform, dual_f32, everything) \
  X(mixture_noise, unlimited, position, token, head, sum, z_loss, f64, without_output) \
  X(mixture_noise, unlimited, position, image_mean, conv_block, interpolated, kl_from_uniform, f64, everything) \
  X(mixture_noise, unlimited, position, class_token, gated_mlp, over_chosen, kl_as_coded, f64, nothing_without_output) \
  X(mixture_noise, unlimited, position, image_mean, conv_block_residual, interpolated, kl_to_uniform, f32, everything) \
  X(mixture_noise, unlimited, position, class_token, depthwise_block, over_chosen, supervised, b16, everything) \
  X(mixture_noise, unlimited, position, token, gated_mlp, sum, none, dual_f64, input) \
  X(mixture_noise, unlimited, position, image_mean, mlp, over_kept, importance, dual_f64, nothing) \
  X(mixture_noise, unlimited, position, class_token, identity, affinity, importance_of_scores, dual_f32, pre_activation) \
  X(mixture_noise, unlimited, position, token, identity, interpolated, of_scores, dual_f32, nothing) \
  X(mixture_bias, unlimited, position, token, head, over_kept, kl_to_uniform, f64, pre_activation) \
  X(mixture_bias, unlimited, position, image_mean, conv_block_residual, affinity, supervised, f64, everything) \
  X(mixture_bias, unlimited, position, class_token, identity, sum, of_scores, f64, input) \
  X(mixture_bias, unlimited, position, token, head, sum, none, f32, nothing) \
  X(mixture_bias, unlimited, position, image_mean, mlp, over_chosen, importance, f32, without_output) \
  X(mixture_bias, unlimited, position, class_token, gated_mlp, interpolated, importance_of_scores, b16, nothing_without_output) \
  X(mixture_bias, unlimited, position, image_mean, conv_block_residual, over_chosen, kl_as_coded, b16, everything) \
  X(mixture_bias, unlimited, position, image_mean, conv_block, over_kept, z_loss, dual_f64, everything) \
  X(mixture_bias, unlimited, position, class_token, depthwise_block, affinity, kl_from_uniform, dual_f32, everything) \
  X(mixture_cosine_bias, unlimited, position, token, mlp, interpolated, none, f64, nothing) \
  X(mixture_cosine_bias, unlimited, position, image_mean, gated_mlp, over_chosen, importance, f64, without_output) \
  X(mixture_cosine_bias, unlimited, position, class_token, depthwise_block, over_kept, importance_of_scores, f64, everything) \
  X(mixture_cosine_bias, unlimited, position, image_mean, conv_block, over_kept, kl_as_coded, f32, everything) \
  X(mixture_cosine_bias, unlimited, position, class_token, conv_block_residual, interpolated, kl_to_uniform, b16, everything) \
  X(mixture_cosine_bias, unlimited, position, token, head, affinity, z_loss, dual_f64, pre_activation) \
  X(mixture_cosine_bias, unlimited, position, token, mlp, over_chosen, supervised, dual_f64, nothing_without_output) \
  X(mixture_cosine_bias, unlimited, position, class_token, identity, sum, kl_from_uniform, dual_f32, input) \
  X(mixture_cosine_bias, unlimited, position, image_mean, depthwise_block, over_kept, of_scores, dual_f32, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, token, head, affinity, z_loss, f64, nothing_without_output) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, conv_block, sum, kl_from_uniform, f64, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, class_token, identity, interpolated, kl_as_coded, f64, pre_activation) \
  X(mixture_sinkhorn_plan, unlimited, position, token, identity, interpolated, none, f32, nothing) \
  X(mixture_sinkhorn_plan, unlimited, position, token, mlp, over_chosen, importance, f32, without_output) \
  X(mixture_sinkhorn_plan, unlimited, position, class_token, gated_mlp, over_kept, importance_of_scores, b16, input) \
  X(mixture_sinkhorn_plan, unlimited, position, token, head, affinity, of_scores, b16, pre_activation) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, conv_block_residual, affinity, kl_to_uniform, dual_f64, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, class_token, depthwise_block, sum, supervised, dual_f32, everything) \
  X(expert_choice, drop, gate, token, identity, sum, none, f64, without_output) \
  X(expert_choice, drop, probability, image_mean, mlp, interpolated, importance, f64, nothing_without_output) \
  X(expert_choice, drop, random, class_token, depthwise_block, over_chosen, importance_of_scores, f64, everything) \
  X(expert_choice, drop_to_zero, gate, token, head, over_kept, z_loss, f64, pre_activation) \
  X(expert_choice, drop_to_zero, probability, image_mean, conv_block, affinity, kl_from_uniform, f64, everything) \
  X(expert_choice, drop_to_zero, random, class_token, conv_block_residual, sum, kl_as_coded, f64, everything) \
  X(expert_choice, unlimited, position, token, mlp, over_chosen, kl_to_uniform, f64, input) \
  X(expert_choice, unlimited, position, image_mean, gated_mlp, over_kept, supervised, f64, nothing)

TEST_CASE("compositions, part 5") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
