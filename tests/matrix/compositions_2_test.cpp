// 753 compositions that meet all 552 supported triples of router, capacity and unit in double and all
// 2962 supported pairs of values of any two axes; 94 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: second
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_dropout, unlimited, position, image_mean, conv_block, sum, importance, f64, everything) \
  X(top_2_dropout, fallback, gate, image_mean, conv_block, sum, importance, f64, everything) \
  X(top_2_dropout, unlimited, position, class_token, gated_mlp, over_chosen, importance_of_scores, f64, without_output) \
  X(top_2_dropout, fallback, probability, class_token, conv_block_residual, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_dropout, drop, gate, token, identity, over_kept, z_loss, f64, nothing_without_output) \
  X(top_2_dropout, reroute, random, token, identity, over_kept, z_loss, f64, nothing) \
  X(top_2_dropout, drop, probability, image_mean, mlp, affinity, kl_from_uniform, f64, pre_activation) \
  X(top_2_dropout, reroute, position, image_mean, mlp, affinity, kl_from_uniform, f64, without_output) \
  X(top_2_dropout, drop, random, class_token, conv_block_residual, sum, kl_as_coded, f64, everything) \
  X(top_2_dropout, reroute, gate, class_token, depthwise_block, sum, kl_as_coded, f64, everything) \
  X(top_2_dropout, drop_to_zero, gate, token, head, over_chosen, kl_to_uniform, f64, input) \
  X(top_2_dropout, drop_to_zero, probability, image_mean, depthwise_block, over_kept, supervised, f64, everything) \
  X(top_2_dropout, drop_to_zero, random, class_token, gated_mlp, affinity, switch_loss, f64, nothing) \
  X(top_2_dropout, identity, gate, token, identity, sum, gshard, f64, without_output) \
  X(top_2_dropout, identity, probability, image_mean, mlp, over_chosen, loss_free_bias, f64, nothing_without_output) \
  X(top_2_dropout, identity, random, class_token, gated_mlp, over_kept, of_scores, f64, pre_activation) \
  X(top_2_dropout, fallback, probability, image_mean, conv_block_residual, over_kept, supervised, f32, everything) \
  X(top_2_dropout, fallback, random, class_token, head, sum, z_loss, b16, without_output) \
  X(top_2_dropout, reroute, gate, token, mlp, over_chosen, kl_from_uniform, dual_f64, nothing_without_output) \
  X(top_2_dropout, identity, probability, image_mean, depthwise_block, over_kept, importance_of_scores, dual_f32, everything) \
  X(top_2_largest, drop_to_zero, probability, token, head, affinity, none, f64, nothing_without_output) \
  X(top_2_largest, drop_to_zero, random, image_mean, conv_block_residual, sum, importance, f64, everything) \
  X(top_2_largest, drop_to_zero, gate, class_token, depthwise_block, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_largest, identity, probability, token, identity, over_kept, z_loss, f64, pre_activation) \
  X(top_2_largest, identity, random, image_mean, conv_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_largest, identity, gate, class_token, mlp, sum, kl_as_coded, f64, input) \
  X(top_2_largest, unlimited, position, token, head, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_largest, fallback, probability, token, head, over_chosen, kl_to_uniform, f64, nothing) \
  X(top_2_largest, unlimited, position, image_mean, gated_mlp, over_kept, supervised, f64, pre_activation) \
  X(top_2_largest, fallback, random, image_mean, gated_mlp, over_kept, supervised, f64, without_output) \
  X(top_2_largest, unlimited, position, class_token, conv_block, affinity, switch_loss, f64, everything) \
  X(top_2_largest, fallback, position, class_token, conv_block_residual, affinity, switch_loss, f64, everything) \
  X(top_2_largest, drop, probability, token, identity, sum, gshard, f64, input) \
  X(top_2_largest, reroute, gate, token, identity, sum, gshard, f64, nothing_without_output) \
  X(top_2_largest, drop, random, image_mean, mlp, over_chosen, loss_free_bias, f64, nothing) \
  X(top_2_largest, reroute, probability, image_mean, depthwise_block, over_chosen, loss_free_bias, f64, everything) \
  X(top_2_largest, drop, gate, class_token, gated_mlp, over_kept, of_scores, f64, without_output) \
  X(top_2_largest, reroute, random, class_token, conv_block, over_kept, of_scores, f64, everything) \
  X(top_2_largest, reroute, random, class_token, conv_block, affinity, importance, f32, everything) \
  X(top_2_largest, identity, gate, token, gated_mlp, sum, supervised, b16, pre_activation) \
  X(top_2_largest, fallback, probability, image_mean, head, over_chosen, kl_as_coded, dual_f64, input) \
  X(top_2_largest, reroute, random, class_token, identity, over_kept, kl_to_uniform, dual_f32, nothing) \
  X(top_2_jitter, unlimited, position, token, head, affinity, none, f64, pre_activation) \
  X(top_2_jitter, fallback, position, token, head, affinity, none, f64, without_output) \
  X(top_2_jitter, unlimited, position, image_mean, mlp, sum, importance, f64, input) \
  X(top_2_jitter, fallback, gate, image_mean, mlp, sum, importance, f64, nothing_without_output) \
  X(top_2_jitter, unlimited, position, class_token, gated_mlp, over_chosen, importance_of_scores, f64, nothing) \
  X(top_2_jitter, fallback, probability, class_token, gated_mlp, over_chosen, importance_of_scores, f64, pre_activation) \
  X(top_2_jitter, drop, gate, token, identity, over_kept, z_loss, f64, without_output) \
  X(top_2_jitter, reroute, random, token, identity, over_kept, z_loss, f64, input) \
  X(top_2_jitter, drop, probability, image_mean, conv_block_residual, affinity, kl_from_uniform, f64, everything) \
  X(top_2_jitter, reroute, position, image_mean, depthwise_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_jitter, drop, random, class_token, mlp, sum, kl_as_coded, f64, nothing_without_output) \
  X(top_2_jitter, reroute, gate, class_token, conv_block, sum, kl_as_coded, f64, everything) \
  X(top_2_jitter, drop_to_zero, gate, token, head, over_chosen, kl_to_uniform, f64, pre_activation) \
  X(top_2_jitter, drop_to_zero, probability, image_mean, depthwise_block, over_kept, supervised, f64, everything) \
  X(top_2_jitter, drop_to_zero, random, class_token, conv_block, affinity, switch_loss, f64, everything) \
  X(top_2_jitter, identity, gate, token, gated_mlp, sum, gshard, f64, input) \
  X(top_2_jitter, identity, probability, image_mean, conv_block_residual, over_chosen, loss_free_bias, f64, everything) \
  X(top_2_jitter, identity, random, class_token, identity, over_kept, of_scores, f64, nothing) \
  X(top_2_jitter, identity, gate, token, mlp, affinity, importance_of_scores, f32, without_output) \
  X(top_2_jitter, fallback, probability, image_mean, conv_block_residual, sum, of_scores, b16, everything) \
  X(top_2_jitter, reroute, random, class_token, gated_mlp, over_chosen, z_loss, dual_f64, nothing_without_output) \
  X(top_2_jitter, identity, gate, token, identity, over_kept, kl_from_uniform, dual_f32, pre_activation) \
  X(top_2_input_dropout, drop_to_zero, probability, token, head, affinity, none, f64, input) \
  X(top_2_input_dropout, drop_to_zero, random, image_mean, conv_block, sum, importance, f64, everything) \
  X(top_2_input_dropout, drop_to_zero, gate, class_token, mlp, over_chosen, importance_of_scores, f64, nothing) \
  X(top_2_input_dropout, identity, probability, token, gated_mlp, over_kept, z_loss, f64, without_output) \
  X(top_2_input_dropout, identity, random, image_mean, conv_block_residual, affinity, kl_from_uniform, f64, everything) \
  X(top_2_input_dropout, identity, gate, class_token, identity, sum, kl_as_coded, f64, nothing_without_output) \
  X(top_2_input_dropout, unlimited, position, token, head, over_chosen, kl_to_uniform, f64, nothing) \
  X(top_2_input_dropout, fallback, probability, token, head, over_chosen, kl_to_uniform, f64, pre_activation) \
  X(top_2_input_dropout, unlimited, position, image_mean, mlp, over_kept, supervised, f64, without_output) \
  X(top_2_input_dropout, fallback, random, image_mean, depthwise_block, over_kept, supervised, f64, everything) \
  X(top_2_input_dropout, unlimited, position, class_token, conv_block_residual, affinity, switch_loss, f64, everything) \
  X(top_2_input_dropout, fallback, position, class_token, mlp, affinity, switch_loss, f64, input) \
  X(top_2_input_dropout, drop, probability, token, gated_mlp, sum, gshard, f64, nothing_without_output) \
  X(top_2_input_dropout, reroute, gate, token, gated_mlp, sum, gshard, f64, nothing) \
  X(top_2_input_dropout, drop, random, image_mean, identity, over_chosen, loss_free_bias, f64, pre_activation) \
  X(top_2_input_dropout, reroute, probability, image_mean, conv_block, over_chosen, loss_free_bias, f64, everything) \
  X(top_2_input_dropout, drop, gate, class_token, depthwise_block, over_kept, of_scores, f64, everything) \
  X(top_2_input_dropout, reroute, random, class_token, conv_block_residual, over_kept, of_scores, f64, everything) \
  X(top_2_input_dropout, fallback, probability, image_mean, head, affinity, z_loss, f32, input) \
  X(top_2_input_dropout, reroute, random, class_token, depthwise_block, sum, none, b16, everything) \
  X(top_2_input_dropout, identity, gate, token, mlp, over_chosen, none, dual_f64, nothing) \
  X(top_2_input_dropout, fallback, probability, image_mean, conv_block, over_kept, none, dual_f32, everything) \
  X(top_2_bias, unlimited, position, token, head, affinity, none, f64, without_output) \
  X(top_2_bias, fallback, position, token, head, affinity, none, f64, input) \
  X(top_2_bias, unlimited, position, image_mean, identity, sum, importance, f64, nothing_without_output) \
  X(top_2_bias, fallback, gate, image_mean, conv_block, sum, importance, f64, everything) \
  X(top_2_bias, unlimited, position, class_token, mlp, over_chosen, importance_of_scores, f64, pre_activation) \
  X(top_2_bias, fallback, probability, class_token, conv_block_residual, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_bias, drop, gate, token, gated_mlp, over_kept, z_loss, f64, input) \
  X(top_2_bias, reroute, random, token, identity, over_kept, z_loss, f64, nothing)

TEST_CASE("compositions, part 2") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
