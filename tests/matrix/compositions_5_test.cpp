// 753 compositions that meet all 552 supported triples of router, capacity and unit in double and all
// 2962 supported pairs of values of any two axes; 94 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: third
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_transport_newton, fallback, probability, image_mean, depthwise_block, affinity, importance_of_scores, f32, everything) \
  X(top_2_transport_newton, reroute, random, class_token, conv_block, sum, z_loss, b16, everything) \
  X(top_2_transport_newton, identity, gate, image_mean, conv_block_residual, over_chosen, kl_from_uniform, dual_f64, everything) \
  X(top_2_transport_newton, fallback, probability, token, gated_mlp, over_kept, kl_as_coded, dual_f32, nothing_without_output) \
  X(top_1_balanced, unlimited, position, token, head, over_chosen, none, f64, nothing) \
  X(top_1_balanced, identity, probability, token, mlp, over_kept, none, f64, without_output) \
  X(top_1_balanced, unlimited, position, image_mean, conv_block, over_kept, importance, f64, everything) \
  X(top_1_balanced, identity, random, image_mean, conv_block, affinity, importance, f64, everything) \
  X(top_1_balanced, unlimited, position, class_token, identity, affinity, importance_of_scores, f64, without_output) \
  X(top_1_balanced, identity, gate, class_token, gated_mlp, sum, importance_of_scores, f64, nothing_without_output) \
  X(top_1_balanced, drop, probability, token, mlp, sum, z_loss, f64, nothing_without_output) \
  X(top_1_balanced, fallback, probability, token, head, over_chosen, z_loss, f64, pre_activation) \
  X(top_1_balanced, drop, random, image_mean, gated_mlp, over_chosen, kl_from_uniform, f64, pre_activation) \
  X(top_1_balanced, fallback, random, image_mean, conv_block_residual, over_kept, kl_from_uniform, f64, everything) \
  X(top_1_balanced, drop, gate, class_token, identity, over_kept, kl_as_coded, f64, input) \
  X(top_1_balanced, fallback, position, class_token, depthwise_block, affinity, kl_as_coded, f64, everything) \
  X(top_1_balanced, drop_to_zero, probability, token, head, affinity, kl_to_uniform, f64, nothing) \
  X(top_1_balanced, reroute, gate, token, identity, sum, kl_to_uniform, f64, input) \
  X(top_1_balanced, drop_to_zero, random, image_mean, conv_block_residual, sum, supervised, f64, everything) \
  X(top_1_balanced, reroute, probability, image_mean, mlp, over_chosen, supervised, f64, nothing) \
  X(top_1_balanced, drop_to_zero, gate, class_token, depthwise_block, over_chosen, of_scores, f64, everything) \
  X(top_1_balanced, reroute, random, class_token, gated_mlp, over_kept, of_scores, f64, without_output) \
  X(top_1_balanced, reroute, random, class_token, depthwise_block, affinity, kl_to_uniform, f32, everything) \
  X(top_1_balanced, identity, gate, image_mean, conv_block, sum, supervised, b16, everything) \
  X(top_1_balanced, fallback, probability, token, head, over_chosen, of_scores, dual_f64, pre_activation) \
  X(top_1_balanced, reroute, random, class_token, conv_block_residual, over_kept, importance, dual_f32, everything) \
  X(fixed, drop, gate, token, mlp, over_kept, none, f64, input) \
  X(fixed, drop, probability, image_mean, gated_mlp, affinity, importance, f64, nothing) \
  X(fixed, drop, random, class_token, identity, sum, importance_of_scores, f64, without_output) \
  X(fixed, drop_to_zero, gate, token, head, over_chosen, z_loss, f64, nothing_without_output) \
  X(fixed, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, kl_from_uniform, f64, everything) \
  X(fixed, drop_to_zero, random, class_token, depthwise_block, affinity, kl_as_coded, f64, everything) \
  X(fixed, identity, gate, token, mlp, sum, kl_to_uniform, f64, pre_activation) \
  X(fixed, identity, probability, image_mean, conv_block, over_chosen, supervised, f64, everything) \
  X(fixed, unlimited, position, token, head, affinity, switch_loss, f64, nothing_without_output) \
  X(fixed, fallback, position, token, head, affinity, switch_loss, f64, nothing) \
  X(fixed, reroute, random, token, gated_mlp, over_kept, switch_loss, f64, pre_activation) \
  X(fixed, unlimited, position, image_mean, conv_block, sum, gshard, f64, everything) \
  X(fixed, fallback, gate, image_mean, identity, sum, gshard, f64, without_output) \
  X(fixed, reroute, position, image_mean, conv_block_residual, affinity, gshard, f64, everything) \
  X(fixed, unlimited, position, class_token, identity, over_chosen, loss_free_bias, f64, pre_activation) \
  X(fixed, fallback, probability, class_token, mlp, over_chosen, loss_free_bias, f64, nothing_without_output) \
  X(fixed, reroute, gate, class_token, identity, sum, loss_free_bias, f64, input) \
  X(fixed, identity, random, class_token, gated_mlp, over_kept, of_scores, f64, input) \
  X(fixed, identity, gate, token, identity, affinity, loss_free_bias, f32, input) \
  X(fixed, fallback, probability, image_mean, depthwise_block, sum, switch_loss, b16, everything) \
  X(fixed, reroute, random, class_token, conv_block, over_chosen, gshard, dual_f64, everything) \
  X(fixed, identity, gate, token, mlp, over_kept, loss_free_bias, dual_f32, nothing) \
  X(hashed, drop, probability, token, identity, sum, none, f64, pre_activation) \
  X(hashed, drop, random, image_mean, depthwise_block, over_chosen, importance, f64, everything) \
  X(hashed, drop, gate, class_token, mlp, over_kept, importance_of_scores, f64, input) \
  X(hashed, drop_to_zero, probability, token, head, affinity, z_loss, f64, nothing) \
  X(hashed, drop_to_zero, random, image_mean, conv_block, sum, kl_from_uniform, f64, everything) \
  X(hashed, drop_to_zero, gate, class_token, conv_block_residual, over_chosen, kl_as_coded, f64, everything) \
  X(hashed, identity, probability, token, gated_mlp, over_kept, kl_to_uniform, f64, without_output) \
  X(hashed, identity, random, image_mean, identity, affinity, supervised, f64, nothing_without_output) \
  X(hashed, unlimited, position, token, head, over_chosen, switch_loss, f64, nothing) \
  X(hashed, fallback, probability, token, head, over_chosen, switch_loss, f64, pre_activation) \
  X(hashed, reroute, gate, token, gated_mlp, sum, switch_loss, f64, nothing) \
  X(hashed, unlimited, position, image_mean, mlp, over_kept, gshard, f64, without_output) \
  X(hashed, fallback, random, image_mean, mlp, over_kept, gshard, f64, input) \
  X(hashed, reroute, probability, image_mean, identity, over_chosen, gshard, f64, without_output) \
  X(hashed, unlimited, position, class_token, gated_mlp, affinity, loss_free_bias, f64, nothing_without_output) \
  X(hashed, fallback, position, class_token, conv_block, affinity, loss_free_bias, f64, everything) \
  X(hashed, reroute, random, class_token, mlp, over_kept, loss_free_bias, f64, nothing_without_output) \
  X(hashed, identity, gate, class_token, depthwise_block, sum, of_scores, f64, everything) \
  X(hashed, fallback, probability, image_mean, gated_mlp, affinity, switch_loss, f32, without_output) \
  X(hashed, fallback, random, class_token, head, sum, gshard, b16, nothing_without_output) \
  X(hashed, reroute, gate, token, identity, over_chosen, loss_free_bias, dual_f64, pre_activation) \
  X(hashed, identity, probability, image_mean, mlp, over_kept, switch_loss, dual_f32, input) \
  X(mixture, unlimited, position, token, head, affinity, none, f64, pre_activation) \
  X(mixture, unlimited, position, image_mean, gated_mlp, sum, importance, f64, input) \
  X(mixture, unlimited, position, class_token, conv_block_residual, over_chosen, importance_of_scores, f64, everything) \
  X(mixture, unlimited, position, class_token, mlp, over_kept, z_loss, f32, nothing) \
  X(mixture, unlimited, position, token, gated_mlp, affinity, supervised, f32, nothing_without_output) \
  X(mixture, unlimited, position, token, identity, affinity, kl_from_uniform, b16, without_output) \
  X(mixture, unlimited, position, image_mean, conv_block_residual, sum, of_scores, b16, everything) \
  X(mixture, unlimited, position, image_mean, conv_block, sum, kl_as_coded, dual_f64, everything) \
  X(mixture, unlimited, position, class_token, depthwise_block, over_chosen, kl_to_uniform, dual_f32, everything) \
  X(mixture_noise, unlimited, position, token, head, over_kept, z_loss, f64, nothing) \
  X(mixture_noise, unlimited, position, image_mean, identity, affinity, kl_from_uniform, f64, without_output) \
  X(mixture_noise, unlimited, position, class_token, depthwise_block, sum, kl_as_coded, f64, everything) \
  X(mixture_noise, unlimited, position, image_mean, conv_block, affinity, kl_to_uniform, f32, everything) \
  X(mixture_noise, unlimited, position, class_token, conv_block_residual, sum, supervised, b16, everything) \
  X(mixture_noise, unlimited, position, token, head, over_chosen, none, dual_f64, nothing_without_output) \
  X(mixture_noise, unlimited, position, class_token, mlp, over_chosen, importance_of_scores, dual_f64, pre_activation) \
  X(mixture_noise, unlimited, position, token, gated_mlp, over_kept, importance, dual_f32, input) \
  X(mixture_noise, unlimited, position, image_mean, depthwise_block, over_kept, of_scores, dual_f32, everything) \
  X(mixture_bias, unlimited, position, token, mlp, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(mixture_bias, unlimited, position, image_mean, conv_block, over_kept, supervised, f64, everything) \
  X(mixture_bias, unlimited, position, class_token, gated_mlp, affinity, of_scores, f64, pre_activation) \
  X(mixture_bias, unlimited, position, token, gated_mlp, affinity, none, f32, input) \
  X(mixture_bias, unlimited, position, class_token, head, sum, importance_of_scores, f32, nothing) \
  X(mixture_bias, unlimited, position, image_mean, conv_block, sum, importance, b16, everything)

TEST_CASE("compositions, part 5") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
