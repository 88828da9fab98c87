// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 106 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: first
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_relu, drop, random, image_mean, mlp, affinity, of_scores, f32, input) \
  X(top_2_relu, drop_to_zero, gate, class_token, head, affinity, importance, b16, without_output) \
  X(top_2_relu, drop_to_zero, probability, token, head, affinity, importance_of_scores, dual_f64, pre_activation) \
  X(top_2_relu, drop, random, image_mean, gated_mlp, affinity, z_loss, dual_f32, nothing) \
  X(top_2_constant_noise, unlimited, position, token, head, affinity, load, f64, everything) \
  X(top_2_constant_noise, drop, random, image_mean, identity, over_kept, load, f64, without_output) \
  X(top_2_constant_noise, drop_to_zero, gate, class_token, mlp, over_chosen, load, f64, input) \
  X(top_2_constant_noise, identity, probability, image_mean, depthwise_block, sum, load, f64, everything) \
  X(top_2_constant_noise, fallback, probability, token, gated_mlp, interpolated, load, f64, nothing) \
  X(top_2_constant_noise, reroute, gate, token, identity, affinity, load, f64, nothing_without_output) \
  X(top_2_constant_noise, unlimited, position, image_mean, identity, sum, load_shazeer, f64, nothing_without_output) \
  X(top_2_constant_noise, drop, probability, token, gated_mlp, over_chosen, load_shazeer, f64, nothing) \
  X(top_2_constant_noise, drop_to_zero, random, image_mean, conv_block, interpolated, load_shazeer, f64, everything) \
  X(top_2_constant_noise, identity, gate, class_token, conv_block_residual, affinity, load_shazeer, f64, everything) \
  X(top_2_constant_noise, fallback, position, class_token, mlp, over_kept, load_shazeer, f64, pre_activation) \
  X(top_2_constant_noise, reroute, probability, image_mean, mlp, sum, load_shazeer, f64, input) \
  X(top_2_constant_noise, unlimited, position, class_token, mlp, interpolated, of_choices, f64, input) \
  X(top_2_constant_noise, drop, gate, class_token, gated_mlp, affinity, of_choices, f64, pre_activation) \
  X(top_2_constant_noise, drop_to_zero, probability, token, head, sum, of_choices, f64, nothing_without_output) \
  X(top_2_constant_noise, identity, random, token, identity, over_kept, of_choices, f64, everything) \
  X(top_2_constant_noise, fallback, random, image_mean, head, over_chosen, of_choices, f64, without_output) \
  X(top_2_constant_noise, reroute, random, class_token, conv_block, interpolated, of_choices, f64, everything) \
  X(top_2_constant_noise, unlimited, position, class_token, conv_block_residual, sum, none, f32, everything) \
  X(top_2_constant_noise, fallback, probability, class_token, depthwise_block, interpolated, kl_as_coded, f32, everything) \
  X(top_2_constant_noise, fallback, probability, token, gated_mlp, sum, switch_loss, f32, nothing) \
  X(top_2_constant_noise, unlimited, position, token, identity, over_chosen, importance_of_scores, b16, pre_activation) \
  X(top_2_constant_noise, identity, gate, image_mean, conv_block_residual, sum, kl_from_uniform, b16, everything) \
  X(top_2_constant_noise, reroute, random, class_token, conv_block, interpolated, gshard, b16, everything) \
  X(top_2_constant_noise, unlimited, position, image_mean, depthwise_block, interpolated, importance, dual_f64, everything) \
  X(top_2_constant_noise, identity, gate, token, mlp, over_kept, supervised, dual_f64, input) \
  X(top_2_constant_noise, identity, gate, image_mean, conv_block_residual, over_chosen, loss_free_bias, dual_f64, everything) \
  X(top_2_constant_noise, unlimited, position, class_token, conv_block, over_kept, z_loss, dual_f32, everything) \
  X(top_2_constant_noise, reroute, random, image_mean, depthwise_block, over_chosen, kl_to_uniform, dual_f32, everything) \
  X(top_2_constant_noise, fallback, probability, token, head, over_kept, of_scores, dual_f32, pre_activation) \
  X(top_2_learned_noise, identity, gate, token, gated_mlp, interpolated, none, f64, nothing) \
  X(top_2_learned_noise, identity, random, class_token, identity, over_kept, importance, f64, without_output) \
  X(top_2_learned_noise, drop, probability, image_mean, mlp, interpolated, importance_of_scores, f64, pre_activation) \
  X(top_2_learned_noise, drop, gate, token, identity, sum, z_loss, f64, nothing_without_output) \
  X(top_2_learned_noise, fallback, position, token, head, affinity, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_learned_noise, drop, random, class_token, depthwise_block, over_chosen, kl_as_coded, f64, everything) \
  X(top_2_learned_noise, drop_to_zero, random, class_token, depthwise_block, sum, kl_to_uniform, f64, everything) \
  X(top_2_learned_noise, reroute, random, token, gated_mlp, over_chosen, supervised, f64, input) \
  X(top_2_learned_noise, identity, probability, image_mean, conv_block, over_chosen, switch_loss, f64, everything) \
  X(top_2_learned_noise, drop_to_zero, gate, token, head, over_kept, gshard, f64, input) \
  X(top_2_learned_noise, unlimited, position, image_mean, conv_block, over_kept, load, f64, everything) \
  X(top_2_learned_noise, fallback, gate, image_mean, mlp, sum, load, f64, pre_activation) \
  X(top_2_learned_noise, unlimited, position, token, head, over_chosen, load_shazeer, f64, without_output) \
  X(top_2_learned_noise, reroute, gate, class_token, depthwise_block, affinity, load_shazeer, f64, everything) \
  X(top_2_learned_noise, reroute, position, image_mean, identity, over_kept, loss_free_bias, f64, nothing) \
  X(top_2_learned_noise, drop_to_zero, probability, image_mean, conv_block_residual, affinity, of_scores, f64, everything) \
  X(top_2_learned_noise, unlimited, position, class_token, gated_mlp, affinity, of_choices, f64, nothing) \
  X(top_2_learned_noise, fallback, probability, class_token, conv_block_residual, interpolated, of_choices, f64, everything) \
  X(top_2_learned_noise, reroute, random, class_token, identity, sum, load, f32, without_output) \
  X(top_2_learned_noise, identity, random, class_token, mlp, over_chosen, of_choices, f32, nothing_without_output) \
  X(top_2_learned_noise, fallback, random, image_mean, conv_block, sum, load, b16, everything) \
  X(top_2_learned_noise, identity, gate, token, mlp, interpolated, load_shazeer, b16, nothing_without_output) \
  X(top_2_learned_noise, fallback, probability, image_mean, gated_mlp, over_chosen, of_choices, dual_f64, without_output) \
  X(top_2_learned_noise, fallback, random, class_token, head, over_kept, load, dual_f32, nothing_without_output) \
  X(top_2_standardized, unlimited, position, class_token, conv_block, over_chosen, none, f64, everything) \
  X(top_2_standardized, drop_to_zero, random, image_mean, depthwise_block, over_chosen, importance, f64, everything) \
  X(top_2_standardized, unlimited, position, token, head, sum, importance_of_scores, f64, without_output) \
  X(top_2_standardized, fallback, probability, token, head, over_chosen, importance_of_scores, f64, pre_activation) \
  X(top_2_standardized, fallback, random, image_mean, depthwise_block, over_kept, importance_of_scores, f64, everything) \
  X(top_2_standardized, drop, probability, token, gated_mlp, over_kept, z_loss, f64, pre_activation) \
  X(top_2_standardized, reroute, gate, token, mlp, sum, z_loss, f64, input) \
  X(top_2_standardized, drop_to_zero, gate, class_token, conv_block, over_kept, kl_from_uniform, f64, everything) \
  X(top_2_standardized, drop, gate, class_token, conv_block_residual, sum, kl_as_coded, f64, everything) \
  X(top_2_standardized, reroute, probability, image_mean, gated_mlp, interpolated, kl_as_coded, f64, nothing) \
  X(top_2_standardized, drop, random, image_mean, identity, affinity, kl_to_uniform, f64, input) \
  X(top_2_standardized, reroute, random, class_token, identity, over_chosen, kl_to_uniform, f64, without_output) \
  X(top_2_standardized, identity, probability, token, gated_mlp, affinity, supervised, f64, without_output) \
  X(top_2_standardized, identity, random, image_mean, conv_block_residual, sum, switch_loss, f64, everything) \
  X(top_2_standardized, unlimited, position, image_mean, mlp, interpolated, gshard, f64, nothing_without_output) \
  X(top_2_standardized, fallback, position, class_token, conv_block, affinity, gshard, f64, everything) \
  X(top_2_standardized, identity, gate, class_token, identity, interpolated, loss_free_bias, f64, nothing_without_output) \
  X(top_2_standardized, drop_to_zero, probability, token, mlp, interpolated, of_scores, f64, nothing) \
  X(top_2_standardized, reroute, gate, image_mean, conv_block, sum, kl_to_uniform, f32, everything) \
  X(top_2_standardized, identity, probability, class_token, conv_block_residual, interpolated, supervised, b16, everything) \
  X(top_2_standardized, reroute, random, image_mean, depthwise_block, over_chosen, kl_from_uniform, dual_f64, everything) \
  X(top_2_standardized, identity, gate, token, identity, over_kept, kl_as_coded, dual_f32, input) \
  X(top_2_dropout, unlimited, position, image_mean, conv_block_residual, affinity, none, f64, everything) \
  X(top_2_dropout, fallback, gate, image_mean, conv_block_residual, interpolated, none, f64, everything) \
  X(top_2_dropout, unlimited, position, class_token, mlp, sum, importance, f64, pre_activation) \
  X(top_2_dropout, fallback, probability, class_token, depthwise_block, over_chosen, importance, f64, everything) \
  X(top_2_dropout, identity, random, class_token, identity, affinity, importance_of_scores, f64, nothing) \
  X(top_2_dropout, drop, gate, token, gated_mlp, interpolated, z_loss, f64, input) \
  X(top_2_dropout, reroute, random, token, mlp, over_kept, z_loss, f64, nothing_without_output) \
  X(top_2_dropout, drop, probability, image_mean, identity, over_chosen, kl_from_uniform, f64, nothing) \
  X(top_2_dropout, reroute, position, image_mean, gated_mlp, affinity, kl_from_uniform, f64, pre_activation) \
  X(top_2_dropout, drop, random, class_token, depthwise_block, over_kept, kl_as_coded, f64, everything) \
  X(top_2_dropout, reroute, gate, class_token, conv_block, sum, kl_as_coded, f64, everything) \
  X(top_2_dropout, drop_to_zero, gate, token, head, affinity, kl_to_uniform, f64, without_output) \
  X(top_2_dropout, drop_to_zero, probability, image_mean, conv_block, sum, supervised, f64, everything) \
  X(top_2_dropout, drop_to_zero, random, class_token, head, over_chosen, switch_loss, f64, nothing_without_output) \
  X(top_2_dropout, identity, gate, token, mlp, interpolated, gshard, f64, pre_activation) \
  X(top_2_dropout, identity, probability, image_mean, gated_mlp, over_kept, loss_free_bias, f64, input) \
  X(top_2_dropout, unlimited, position, token, head, over_kept, of_scores, f64, nothing_without_output) \
  X(top_2_dropout, fallback, position, token, head, sum, of_scores, f64, without_output) \
  X(top_2_dropout, fallback, probability, token, mlp, sum, importance, f32, nothing) \
  X(top_2_dropout, reroute, random, class_token, conv_block, interpolated, of_scores, b16, everything) \
  X(top_2_dropout, identity, gate, image_mean, conv_block_residual, over_chosen, z_loss, dual_f64, everything) \
  X(top_2_dropout, fallback, probability, token, gated_mlp, over_kept, importance_of_scores, dual_f32, without_output) \
  X(top_2_largest, drop_to_zero, probability, token, head, over_chosen, none, f64, input) \
  X(top_2_largest, drop_to_zero, random, image_mean, depthwise_block, over_kept, importance, f64, everything) \
  X(top_2_largest, drop_to_zero, gate, class_token, conv_block, affinity, importance_of_scores, f64, everything) \
  X(top_2_largest, identity, probability, token, mlp, sum, z_loss, f64, nothing)

TEST_CASE("compositions, part 1") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
