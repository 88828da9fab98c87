// 45 compositions on CUDA that meet every value of every axis and 1165 of the 2782 supported pairs of
// values of any two axes, 41 %.  Written by `support_matrix cuda_compositions`; the test matrix/cover checks it.
#pragma once

#define MATRIX_CUDA_COMPOSITIONS(X) \
  X(top_1, reroute, gate, class_token, gated_mlp, over_kept, gshard, b16, input) \
  X(top_2, fallback, probability, class_token, conv_block, over_chosen, switch_loss, b16, everything) \
  X(top_2_group_limited, drop_to_zero, probability, class_token, head, over_chosen, importance_of_scores, b16, input) \
  X(top_2_sigmoid, identity, position, image_mean, identity, over_kept, switch_loss, f64, nothing) \
  X(top_2_relu, fallback, gate, class_token, identity, affinity, kl_from_uniform, f32, without_output) \
  X(top_2_constant_noise, identity, random, image_mean, mlp, over_chosen, of_choices, f64, without_output) \
  X(top_2_constant_noise, reroute, probability, token, identity, sum, load, f32, nothing_without_output) \
  X(top_2_learned_noise, fallback, probability, token, gated_mlp, over_chosen, load_shazeer, f32, pre_activation) \
  X(top_2_learned_noise, drop, position, class_token, depthwise_block, over_kept, of_choices, b16, everything) \
  X(top_2_standardized, reroute, random, image_mean, conv_block_residual, over_chosen, supervised, f32, everything) \
  X(top_2_dropout, drop, gate, token, mlp, sum, switch_loss, f32, pre_activation) \
  X(top_2_largest, fallback, random, token, head, sum, gshard, f64, pre_activation) \
  X(top_2_jitter, identity, probability, image_mean, depthwise_block, affinity, loss_free_bias, b16, everything) \
  X(top_2_input_dropout, identity, gate, class_token, gated_mlp, over_chosen, of_scores, f64, nothing_without_output) \
  X(top_2_bias, drop_to_zero, gate, token, mlp, over_kept, loss_free_bias, f32, nothing_without_output) \
  X(top_2_cosine, drop, probability, token, gated_mlp, over_kept, supervised, f64, without_output) \
  X(paper_b_head, fallback, position, image_mean, mlp, over_chosen, load, b16, without_output) \
  X(top_2_sinkhorn, drop_to_zero, random, image_mean, gated_mlp, affinity, kl_as_coded, f64, input) \
  X(top_2_sinkhorn_plan, reroute, position, class_token, mlp, affinity, z_loss, b16, pre_activation) \
  X(top_2_sinkhorn_clean, drop, random, token, mlp, over_chosen, kl_from_uniform, b16, nothing) \
  X(top_2_transport, identity, gate, image_mean, conv_block, sum, importance_of_scores, f32, everything) \
  X(top_2_transport_lbfgs, fallback, gate, image_mean, head, over_kept, kl_to_uniform, b16, nothing_without_output) \
  X(top_2_transport_newton, unlimited, position, image_mean, mlp, over_kept, of_scores, b16, pre_activation) \
  X(top_1_balanced, reroute, gate, class_token, depthwise_block, over_kept, importance, f64, everything) \
  X(fixed, identity, probability, token, mlp, sum, kl_to_uniform, f64, input) \
  X(hashed, drop_to_zero, position, class_token, conv_block_residual, sum, kl_from_uniform, f64, everything) \
  X(mixture, unlimited, position, token, gated_mlp, affinity, importance, b16, nothing_without_output) \
  X(mixture_noise, unlimited, position, token, head, over_chosen, kl_as_coded, f32, everything) \
  X(mixture_bias, unlimited, position, token, head, affinity, importance_of_scores, f64, without_output) \
  X(mixture_cosine_bias, unlimited, position, class_token, identity, affinity, supervised, b16, input) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, gated_mlp, affinity, kl_to_uniform, f32, nothing) \
  X(expert_choice, drop_to_zero, random, class_token, identity, over_chosen, kl_to_uniform, b16, pre_activation) \
  X(expert_choice_noise, drop_to_zero, gate, token, head, sum, z_loss, f32, without_output) \
  X(expert_choice_bias, drop, probability, token, identity, affinity, of_scores, f32, nothing) \
  X(expert_choice_cosine, drop_to_zero, random, image_mean, conv_block, over_chosen, importance, f64, everything) \
  X(expert_choice_sinkhorn, drop, gate, class_token, conv_block_residual, over_kept, kl_as_coded, b16, everything) \
  X(expert_choice_sinkhorn_plan, drop, random, token, mlp, over_kept, importance_of_scores, f64, nothing_without_output) \
  X(expert_choice_transport, drop_to_zero, random, class_token, depthwise_block, sum, of_scores, f32, everything) \
  X(expert_choice_transport_plan, drop, probability, image_mean, conv_block, over_kept, z_loss, f64, everything) \
  X(expert_choice_transport_prices, drop, gate, token, gated_mlp, sum, none, f32, input) \
  X(strictly_balanced, drop_to_zero, gate, class_token, head, sum, supervised, b16, nothing) \
  X(positive, drop, probability, image_mean, conv_block_residual, affinity, relu_l1, f64, everything) \
  X(soft_slots, unlimited, position, class_token, conv_block, affinity, none, f32, everything) \
  X(soft_slots_batch, unlimited, position, image_mean, conv_block_residual, affinity, none, b16, everything) \
  X(soft_slots_plain, unlimited, position, class_token, depthwise_block, affinity, none, f64, everything)
