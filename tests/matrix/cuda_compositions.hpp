// 42 compositions on CUDA that meet every value of every axis and 1123 of the 2661 supported pairs of
// values of any two axes, 42 %.  Written by `support_matrix cuda_compositions`; the test matrix/cover checks it.
#pragma once

#define MATRIX_CUDA_COMPOSITIONS(X) \
  X(top_1, reroute, random, token, gated_mlp, over_chosen, loss_free_bias, f64, input) \
  X(top_2, drop, gate, image_mean, gated_mlp, sum, importance, f32, pre_activation) \
  X(top_2_group_limited, drop_to_zero, probability, class_token, head, over_chosen, importance_of_scores, b16, input) \
  X(top_2_sigmoid, identity, random, image_mean, identity, over_kept, z_loss, f64, nothing) \
  X(top_2_relu, reroute, gate, class_token, identity, affinity, gshard, f32, without_output) \
  X(top_2_constant_noise, reroute, probability, token, identity, sum, kl_as_coded, b16, nothing_without_output) \
  X(top_2_learned_noise, fallback, probability, image_mean, mlp, affinity, load_shazeer, f32, input) \
  X(top_2_learned_noise, drop, position, token, gated_mlp, over_kept, gshard, b16, everything) \
  X(top_2_standardized, reroute, random, image_mean, conv_block_residual, over_chosen, supervised, f32, everything) \
  X(top_2_dropout, identity, gate, token, mlp, over_kept, switch_loss, f32, input) \
  X(top_2_largest, fallback, random, image_mean, head, sum, gshard, f64, pre_activation) \
  X(top_2_jitter, identity, probability, image_mean, depthwise_block, affinity, loss_free_bias, b16, everything) \
  X(top_2_input_dropout, identity, gate, class_token, gated_mlp, over_chosen, of_scores, f64, nothing_without_output) \
  X(top_2_bias, unlimited, position, class_token, head, sum, loss_free_bias, f32, nothing) \
  X(paper_b_head, drop, probability, token, mlp, over_chosen, load, f64, without_output) \
  X(paper_b_head, identity, position, class_token, conv_block, sum, of_choices, b16, everything) \
  X(top_2_sinkhorn, drop_to_zero, position, image_mean, gated_mlp, affinity, kl_as_coded, f64, input) \
  X(top_2_sinkhorn_plan, fallback, random, image_mean, gated_mlp, over_kept, none, b16, without_output) \
  X(top_2_sinkhorn_clean, reroute, position, class_token, mlp, affinity, z_loss, b16, pre_activation) \
  X(top_2_transport, fallback, random, image_mean, mlp, sum, importance_of_scores, f32, nothing_without_output) \
  X(top_2_transport_lbfgs, fallback, position, token, identity, over_chosen, importance, b16, nothing) \
  X(top_2_transport_newton, reroute, probability, token, gated_mlp, over_kept, kl_from_uniform, f64, nothing) \
  X(top_1_balanced, drop_to_zero, random, class_token, depthwise_block, sum, of_scores, f32, everything) \
  X(fixed, drop, random, image_mean, conv_block, affinity, switch_loss, f64, everything) \
  X(hashed, fallback, gate, class_token, conv_block, over_chosen, kl_as_coded, f32, everything) \
  X(mixture, unlimited, position, image_mean, head, over_kept, of_scores, b16, without_output) \
  X(mixture_noise, unlimited, position, token, head, affinity, supervised, f64, nothing_without_output) \
  X(mixture_bias, unlimited, position, image_mean, conv_block_residual, sum, kl_from_uniform, b16, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, token, identity, over_kept, importance_of_scores, f64, pre_activation) \
  X(expert_choice, drop, random, class_token, identity, over_chosen, kl_from_uniform, f32, input) \
  X(expert_choice_noise, drop_to_zero, gate, token, mlp, affinity, kl_to_uniform, f32, nothing) \
  X(expert_choice_bias, drop_to_zero, probability, class_token, conv_block_residual, over_kept, importance, f64, everything) \
  X(expert_choice_sinkhorn, drop_to_zero, probability, class_token, identity, over_chosen, supervised, b16, pre_activation) \
  X(expert_choice_sinkhorn_plan, drop, random, class_token, depthwise_block, over_chosen, kl_to_uniform, b16, everything) \
  X(expert_choice_transport, drop, gate, image_mean, conv_block_residual, affinity, importance_of_scores, b16, everything) \
  X(expert_choice_transport_plan, unlimited, position, image_mean, gated_mlp, sum, kl_to_uniform, f64, input) \
  X(expert_choice_transport_prices, drop_to_zero, gate, token, head, sum, z_loss, f32, without_output) \
  X(strictly_balanced, drop, probability, token, mlp, affinity, of_scores, b16, nothing) \
  X(positive, unlimited, position, image_mean, depthwise_block, over_kept, relu_l1, f64, everything) \
  X(soft_slots, unlimited, position, class_token, conv_block, affinity, none, f32, everything) \
  X(soft_slots_batch, unlimited, position, token, mlp, affinity, none, f64, input) \
  X(soft_slots_plain, unlimited, position, token, head, affinity, none, f64, pre_activation)
