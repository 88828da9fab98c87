// 753 compositions that meet all 552 supported triples of router, capacity and unit in double and all
// 2962 supported pairs of values of any two axes; 94 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: first
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_relu, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, z_loss, f64, everything) \
  X(top_2_relu, reroute, random, token, gated_mlp, over_kept, z_loss, f64, input) \
  X(top_2_relu, unlimited, position, image_mean, depthwise_block, sum, kl_from_uniform, f64, everything) \
  X(top_2_relu, drop_to_zero, random, class_token, gated_mlp, affinity, kl_from_uniform, f64, nothing) \
  X(top_2_relu, fallback, gate, image_mean, mlp, sum, kl_as_coded, f64, pre_activation) \
  X(top_2_relu, identity, probability, image_mean, conv_block_residual, over_chosen, kl_to_uniform, f64, everything) \
  X(top_2_relu, unlimited, position, token, head, affinity, supervised, f64, nothing) \
  X(top_2_relu, identity, random, class_token, conv_block, over_kept, switch_loss, f64, everything) \
  X(top_2_relu, unlimited, position, class_token, gated_mlp, over_chosen, gshard, f64, input) \
  X(top_2_relu, fallback, position, token, head, affinity, gshard, f64, without_output) \
  X(top_2_relu, drop, gate, token, identity, over_kept, loss_free_bias, f64, nothing_without_output) \
  X(top_2_relu, identity, gate, token, identity, sum, of_scores, f64, nothing_without_output) \
  X(top_2_relu, drop_to_zero, random, token, head, over_kept, of_scores, f32, input) \
  X(top_2_relu, drop, gate, class_token, gated_mlp, sum, importance, b16, nothing) \
  X(top_2_relu, drop_to_zero, probability, token, identity, over_chosen, importance_of_scores, dual_f64, input) \
  X(top_2_relu, drop, random, image_mean, mlp, over_kept, z_loss, dual_f32, without_output) \
  X(top_2_constant_noise, unlimited, position, token, head, over_chosen, load, f64, everything) \
  X(top_2_constant_noise, drop, gate, class_token, gated_mlp, over_kept, load, f64, nothing_without_output) \
  X(top_2_constant_noise, drop_to_zero, random, image_mean, conv_block, affinity, load, f64, everything) \
  X(top_2_constant_noise, identity, probability, token, identity, sum, load, f64, input) \
  X(top_2_constant_noise, fallback, probability, token, mlp, over_chosen, load, f64, nothing) \
  X(top_2_constant_noise, reroute, gate, token, mlp, sum, load, f64, pre_activation) \
  X(top_2_constant_noise, unlimited, position, image_mean, mlp, over_kept, load_shazeer, f64, pre_activation) \
  X(top_2_constant_noise, drop, probability, token, identity, sum, load_shazeer, f64, nothing) \
  X(top_2_constant_noise, drop_to_zero, gate, class_token, conv_block_residual, over_chosen, load_shazeer, f64, everything) \
  X(top_2_constant_noise, identity, random, class_token, gated_mlp, affinity, load_shazeer, f64, without_output) \
  X(top_2_constant_noise, fallback, random, image_mean, head, over_kept, load_shazeer, f64, nothing_without_output) \
  X(top_2_constant_noise, reroute, probability, image_mean, gated_mlp, over_chosen, load_shazeer, f64, input) \
  X(top_2_constant_noise, unlimited, position, class_token, gated_mlp, affinity, of_choices, f64, input) \
  X(top_2_constant_noise, drop, random, image_mean, mlp, over_chosen, of_choices, f64, without_output) \
  X(top_2_constant_noise, drop_to_zero, probability, token, head, sum, of_choices, f64, pre_activation) \
  X(top_2_constant_noise, identity, gate, image_mean, depthwise_block, over_kept, of_choices, f64, everything) \
  X(top_2_constant_noise, fallback, position, class_token, identity, affinity, of_choices, f64, nothing) \
  X(top_2_constant_noise, reroute, random, class_token, conv_block, over_kept, of_choices, f64, everything) \
  X(top_2_constant_noise, unlimited, position, class_token, depthwise_block, sum, none, f32, everything) \
  X(top_2_constant_noise, reroute, random, class_token, conv_block, sum, kl_to_uniform, f32, everything) \
  X(top_2_constant_noise, fallback, probability, token, mlp, over_kept, switch_loss, f32, pre_activation) \
  X(top_2_constant_noise, unlimited, position, image_mean, conv_block_residual, over_kept, importance_of_scores, b16, everything) \
  X(top_2_constant_noise, identity, gate, token, identity, over_chosen, kl_from_uniform, b16, input) \
  X(top_2_constant_noise, reroute, random, class_token, depthwise_block, sum, gshard, b16, everything) \
  X(top_2_constant_noise, unlimited, position, token, head, over_chosen, importance, dual_f64, nothing) \
  X(top_2_constant_noise, identity, gate, image_mean, conv_block_residual, over_chosen, supervised, dual_f64, everything) \
  X(top_2_constant_noise, identity, gate, image_mean, conv_block, over_chosen, loss_free_bias, dual_f64, everything) \
  X(top_2_constant_noise, unlimited, position, class_token, conv_block, sum, z_loss, dual_f32, everything) \
  X(top_2_constant_noise, fallback, probability, image_mean, depthwise_block, over_kept, kl_as_coded, dual_f32, everything) \
  X(top_2_constant_noise, fallback, probability, token, gated_mlp, over_kept, of_scores, dual_f32, pre_activation) \
  X(top_2_learned_noise, drop_to_zero, probability, image_mean, conv_block_residual, over_kept, none, f64, everything) \
  X(top_2_learned_noise, identity, probability, image_mean, conv_block_residual, over_chosen, importance, f64, everything) \
  X(top_2_learned_noise, identity, random, class_token, conv_block, over_kept, importance_of_scores, f64, everything) \
  X(top_2_learned_noise, fallback, position, token, head, affinity, z_loss, f64, without_output) \
  X(top_2_learned_noise, drop, probability, image_mean, conv_block_residual, affinity, kl_from_uniform, f64, everything) \
  X(top_2_learned_noise, fallback, gate, image_mean, head, sum, kl_as_coded, f64, nothing_without_output) \
  X(top_2_learned_noise, reroute, random, token, mlp, over_kept, kl_to_uniform, f64, pre_activation) \
  X(top_2_learned_noise, drop_to_zero, gate, token, gated_mlp, over_chosen, supervised, f64, input) \
  X(top_2_learned_noise, drop, gate, token, mlp, over_kept, switch_loss, f64, pre_activation) \
  X(top_2_learned_noise, drop, random, class_token, conv_block, sum, gshard, f64, everything) \
  X(top_2_learned_noise, unlimited, position, token, head, affinity, load, f64, without_output) \
  X(top_2_learned_noise, fallback, probability, class_token, depthwise_block, over_chosen, load, f64, everything) \
  X(top_2_learned_noise, unlimited, position, image_mean, depthwise_block, sum, load_shazeer, f64, everything) \
  X(top_2_learned_noise, reroute, position, image_mean, conv_block, affinity, load_shazeer, f64, everything) \
  X(top_2_learned_noise, drop_to_zero, random, class_token, depthwise_block, affinity, loss_free_bias, f64, everything) \
  X(top_2_learned_noise, identity, gate, token, identity, sum, of_scores, f64, nothing) \
  X(top_2_learned_noise, unlimited, position, class_token, identity, over_chosen, of_choices, f64, nothing_without_output) \
  X(top_2_learned_noise, reroute, gate, class_token, conv_block_residual, sum, of_choices, f64, everything) \
  X(top_2_learned_noise, reroute, random, class_token, identity, sum, load, f32, without_output) \
  X(top_2_learned_noise, fallback, probability, image_mean, conv_block, sum, of_choices, f32, everything) \
  X(top_2_learned_noise, reroute, random, token, gated_mlp, over_chosen, load, b16, without_output) \
  X(top_2_learned_noise, identity, gate, token, mlp, over_chosen, load_shazeer, b16, nothing_without_output) \
  X(top_2_learned_noise, fallback, probability, image_mean, conv_block_residual, over_kept, of_choices, dual_f64, everything) \
  X(top_2_learned_noise, reroute, random, class_token, depthwise_block, sum, load, dual_f32, everything) \
  X(top_2_standardized, drop_to_zero, probability, token, gated_mlp, affinity, none, f64, pre_activation) \
  X(top_2_standardized, drop_to_zero, random, image_mean, conv_block_residual, sum, importance, f64, everything) \
  X(top_2_standardized, identity, probability, token, identity, over_kept, importance_of_scores, f64, input) \
  X(top_2_standardized, drop_to_zero, gate, class_token, depthwise_block, over_chosen, z_loss, f64, everything) \
  X(top_2_standardized, unlimited, position, token, gated_mlp, over_chosen, kl_from_uniform, f64, input) \
  X(top_2_standardized, fallback, probability, token, head, over_chosen, kl_from_uniform, f64, without_output) \
  X(top_2_standardized, identity, random, image_mean, conv_block, affinity, kl_as_coded, f64, everything) \
  X(top_2_standardized, identity, gate, class_token, mlp, sum, kl_to_uniform, f64, nothing) \
  X(top_2_standardized, unlimited, position, image_mean, depthwise_block, over_kept, supervised, f64, everything) \
  X(top_2_standardized, fallback, random, image_mean, conv_block_residual, over_kept, supervised, f64, everything) \
  X(top_2_standardized, unlimited, position, class_token, head, affinity, switch_loss, f64, nothing) \
  X(top_2_standardized, fallback, position, class_token, depthwise_block, affinity, switch_loss, f64, everything) \
  X(top_2_standardized, drop, random, image_mean, mlp, over_chosen, gshard, f64, nothing_without_output) \
  X(top_2_standardized, reroute, gate, token, gated_mlp, sum, gshard, f64, nothing_without_output) \
  X(top_2_standardized, drop, probability, token, identity, sum, loss_free_bias, f64, without_output) \
  X(top_2_standardized, reroute, probability, image_mean, identity, over_chosen, loss_free_bias, f64, pre_activation) \
  X(top_2_standardized, drop, gate, class_token, conv_block, over_kept, of_scores, f64, everything) \
  X(top_2_standardized, reroute, random, class_token, mlp, over_kept, of_scores, f64, input) \
  X(top_2_standardized, identity, gate, image_mean, conv_block, over_chosen, kl_as_coded, f32, everything) \
  X(top_2_standardized, fallback, probability, token, head, over_kept, kl_to_uniform, b16, without_output) \
  X(top_2_standardized, reroute, random, class_token, gated_mlp, sum, of_scores, dual_f64, nothing_without_output) \
  X(top_2_standardized, identity, gate, token, identity, over_chosen, importance, dual_f32, nothing) \
  X(top_2_dropout, unlimited, position, token, head, affinity, none, f64, nothing) \
  X(top_2_dropout, fallback, position, token, head, affinity, none, f64, input)

TEST_CASE("compositions, part 1") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
