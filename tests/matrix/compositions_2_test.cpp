// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 106 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: second
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_largest, identity, random, image_mean, conv_block_residual, interpolated, kl_from_uniform, f64, everything) \
  X(top_2_largest, identity, gate, class_token, gated_mlp, over_chosen, kl_as_coded, f64, without_output) \
  X(top_2_largest, unlimited, position, token, identity, interpolated, kl_to_uniform, f64, input) \
  X(top_2_largest, fallback, probability, token, head, over_kept, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_largest, unlimited, position, image_mean, head, over_chosen, supervised, f64, nothing) \
  X(top_2_largest, fallback, random, image_mean, identity, affinity, supervised, f64, pre_activation) \
  X(top_2_largest, unlimited, position, class_token, conv_block_residual, over_kept, switch_loss, f64, everything) \
  X(top_2_largest, fallback, position, class_token, depthwise_block, sum, switch_loss, f64, everything) \
  X(top_2_largest, drop, probability, token, mlp, affinity, gshard, f64, without_output) \
  X(top_2_largest, reroute, gate, token, mlp, interpolated, gshard, f64, input) \
  X(top_2_largest, drop, random, image_mean, gated_mlp, sum, loss_free_bias, f64, nothing_without_output) \
  X(top_2_largest, reroute, probability, image_mean, conv_block, over_chosen, loss_free_bias, f64, everything) \
  X(top_2_largest, drop, gate, class_token, identity, interpolated, of_scores, f64, pre_activation) \
  X(top_2_largest, reroute, random, class_token, conv_block_residual, over_kept, of_scores, f64, everything) \
  X(top_2_largest, reroute, random, class_token, depthwise_block, sum, supervised, f32, everything) \
  X(top_2_largest, identity, gate, image_mean, conv_block, interpolated, kl_to_uniform, b16, everything) \
  X(top_2_largest, fallback, probability, token, head, over_chosen, kl_as_coded, dual_f64, nothing_without_output) \
  X(top_2_largest, reroute, random, class_token, conv_block_residual, over_kept, kl_from_uniform, dual_f32, everything) \
  X(top_2_jitter, unlimited, position, token, gated_mlp, affinity, none, f64, nothing) \
  X(top_2_jitter, fallback, position, token, gated_mlp, interpolated, none, f64, pre_activation) \
  X(top_2_jitter, unlimited, position, image_mean, head, sum, importance, f64, without_output) \
  X(top_2_jitter, fallback, gate, image_mean, head, over_chosen, importance, f64, input) \
  X(top_2_jitter, unlimited, position, class_token, identity, interpolated, importance_of_scores, f64, nothing_without_output) \
  X(top_2_jitter, fallback, probability, class_token, identity, over_kept, importance_of_scores, f64, nothing) \
  X(top_2_jitter, drop, gate, token, mlp, over_chosen, z_loss, f64, pre_activation) \
  X(top_2_jitter, reroute, random, token, mlp, affinity, z_loss, f64, without_output) \
  X(top_2_jitter, drop, probability, image_mean, depthwise_block, over_kept, kl_from_uniform, f64, everything) \
  X(top_2_jitter, reroute, position, image_mean, conv_block, sum, kl_from_uniform, f64, everything) \
  X(top_2_jitter, drop, random, class_token, gated_mlp, affinity, kl_as_coded, f64, input) \
  X(top_2_jitter, reroute, gate, class_token, conv_block_residual, interpolated, kl_as_coded, f64, everything) \
  X(top_2_jitter, drop_to_zero, gate, token, head, sum, kl_to_uniform, f64, nothing) \
  X(top_2_jitter, drop_to_zero, probability, image_mean, conv_block, interpolated, supervised, f64, everything) \
  X(top_2_jitter, drop_to_zero, random, class_token, conv_block_residual, over_chosen, switch_loss, f64, everything) \
  X(top_2_jitter, identity, gate, token, identity, over_kept, gshard, f64, without_output) \
  X(top_2_jitter, identity, probability, image_mean, depthwise_block, affinity, loss_free_bias, f64, everything) \
  X(top_2_jitter, identity, random, class_token, mlp, sum, of_scores, f64, nothing_without_output) \
  X(top_2_jitter, identity, gate, token, identity, sum, importance_of_scores, f32, pre_activation) \
  X(top_2_jitter, fallback, probability, image_mean, depthwise_block, interpolated, z_loss, b16, everything) \
  X(top_2_jitter, reroute, random, class_token, mlp, over_chosen, of_scores, dual_f64, input) \
  X(top_2_jitter, identity, gate, token, gated_mlp, over_kept, importance, dual_f32, nothing) \
  X(top_2_input_dropout, drop_to_zero, probability, token, gated_mlp, over_kept, none, f64, without_output) \
  X(top_2_input_dropout, drop_to_zero, random, image_mean, conv_block_residual, affinity, importance, f64, everything) \
  X(top_2_input_dropout, drop_to_zero, gate, class_token, head, sum, importance_of_scores, f64, nothing_without_output) \
  X(top_2_input_dropout, identity, probability, token, identity, interpolated, z_loss, f64, pre_activation) \
  X(top_2_input_dropout, identity, random, image_mean, depthwise_block, over_chosen, kl_from_uniform, f64, everything) \
  X(top_2_input_dropout, identity, gate, class_token, mlp, over_kept, kl_as_coded, f64, input) \
  X(top_2_input_dropout, unlimited, position, token, gated_mlp, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_input_dropout, fallback, probability, token, gated_mlp, affinity, kl_to_uniform, f64, nothing) \
  X(top_2_input_dropout, unlimited, position, image_mean, head, over_kept, supervised, f64, pre_activation) \
  X(top_2_input_dropout, fallback, random, image_mean, conv_block, sum, supervised, f64, everything) \
  X(top_2_input_dropout, unlimited, position, class_token, depthwise_block, affinity, switch_loss, f64, everything) \
  X(top_2_input_dropout, fallback, position, class_token, head, over_chosen, switch_loss, f64, without_output) \
  X(top_2_input_dropout, drop, probability, token, identity, sum, gshard, f64, input) \
  X(top_2_input_dropout, reroute, gate, token, identity, interpolated, gshard, f64, nothing_without_output) \
  X(top_2_input_dropout, drop, random, image_mean, mlp, interpolated, loss_free_bias, f64, nothing) \
  X(top_2_input_dropout, reroute, probability, image_mean, conv_block_residual, over_kept, loss_free_bias, f64, everything) \
  X(top_2_input_dropout, drop, gate, class_token, conv_block, over_chosen, of_scores, f64, everything) \
  X(top_2_input_dropout, reroute, random, class_token, depthwise_block, affinity, of_scores, f64, everything) \
  X(top_2_input_dropout, fallback, probability, image_mean, head, sum, z_loss, f32, without_output) \
  X(top_2_input_dropout, reroute, random, class_token, identity, interpolated, none, b16, nothing_without_output) \
  X(top_2_input_dropout, identity, gate, token, mlp, over_chosen, none, dual_f64, pre_activation) \
  X(top_2_input_dropout, fallback, probability, image_mean, gated_mlp, over_kept, none, dual_f32, input) \
  X(top_2_bias, unlimited, position, token, mlp, sum, none, f64, pre_activation) \
  X(top_2_bias, fallback, position, token, head, over_chosen, none, f64, without_output) \
  X(top_2_bias, unlimited, position, image_mean, gated_mlp, interpolated, importance, f64, input) \
  X(top_2_bias, fallback, gate, image_mean, conv_block_residual, over_kept, importance, f64, everything) \
  X(top_2_bias, unlimited, position, class_token, head, over_chosen, importance_of_scores, f64, nothing) \
  X(top_2_bias, fallback, probability, class_token, depthwise_block, affinity, importance_of_scores, f64, everything) \
  X(top_2_bias, drop, gate, token, identity, over_kept, z_loss, f64, without_output) \
  X(top_2_bias, reroute, random, token, gated_mlp, sum, z_loss, f64, nothing_without_output) \
  X(top_2_bias, drop, probability, image_mean, conv_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_bias, reroute, position, image_mean, conv_block, interpolated, kl_from_uniform, f64, everything) \
  X(top_2_bias, drop, random, class_token, mlp, sum, kl_as_coded, f64, nothing_without_output) \
  X(top_2_bias, reroute, gate, class_token, identity, over_chosen, kl_as_coded, f64, pre_activation) \
  X(top_2_bias, drop_to_zero, gate, token, gated_mlp, interpolated, kl_to_uniform, f64, pre_activation) \
  X(top_2_bias, drop_to_zero, probability, image_mean, conv_block_residual, over_chosen, supervised, f64, everything) \
  X(top_2_bias, drop_to_zero, random, class_token, depthwise_block, over_kept, switch_loss, f64, everything) \
  X(top_2_bias, identity, gate, token, identity, affinity, gshard, f64, input) \
  X(top_2_bias, identity, probability, image_mean, mlp, sum, loss_free_bias, f64, nothing) \
  X(top_2_bias, identity, random, class_token, conv_block, interpolated, of_scores, f64, everything) \
  X(top_2_bias, reroute, random, class_token, identity, affinity, switch_loss, f32, nothing) \
  X(top_2_bias, fallback, gate, token, head, sum, gshard, b16, without_output) \
  X(top_2_bias, identity, probability, image_mean, conv_block, interpolated, loss_free_bias, dual_f64, everything) \
  X(top_2_bias, reroute, random, class_token, mlp, over_chosen, switch_loss, dual_f32, nothing_without_output) \
  X(top_2_cosine, drop_to_zero, probability, token, head, affinity, none, f64, pre_activation) \
  X(top_2_cosine, drop_to_zero, random, image_mean, conv_block, sum, importance, f64, everything) \
  X(top_2_cosine, drop_to_zero, gate, class_token, conv_block_residual, interpolated, importance_of_scores, f64, everything) \
  X(top_2_cosine, identity, probability, token, mlp, over_chosen, z_loss, f64, input) \
  X(top_2_cosine, identity, random, image_mean, depthwise_block, over_kept, kl_from_uniform, f64, everything) \
  X(top_2_cosine, identity, gate, class_token, gated_mlp, affinity, kl_as_coded, f64, nothing) \
  X(top_2_cosine, unlimited, position, token, head, over_kept, kl_to_uniform, f64, input) \
  X(top_2_cosine, fallback, probability, token, head, sum, kl_to_uniform, f64, without_output) \
  X(top_2_cosine, unlimited, position, image_mean, conv_block_residual, affinity, supervised, f64, everything) \
  X(top_2_cosine, fallback, random, image_mean, identity, interpolated, supervised, f64, nothing_without_output) \
  X(top_2_cosine, unlimited, position, class_token, mlp, sum, switch_loss, f64, nothing) \
  X(top_2_cosine, fallback, position, class_token, mlp, over_chosen, switch_loss, f64, pre_activation) \
  X(top_2_cosine, drop, probability, token, gated_mlp, interpolated, gshard, f64, without_output) \
  X(top_2_cosine, reroute, gate, token, gated_mlp, over_kept, gshard, f64, input) \
  X(top_2_cosine, drop, random, image_mean, identity, over_chosen, loss_free_bias, f64, nothing_without_output) \
  X(top_2_cosine, reroute, probability, image_mean, conv_block, affinity, loss_free_bias, f64, everything) \
  X(top_2_cosine, drop, gate, class_token, depthwise_block, over_kept, of_scores, f64, everything) \
  X(top_2_cosine, reroute, random, class_token, identity, sum, of_scores, f64, nothing) \
  X(top_2_cosine, identity, gate, image_mean, conv_block_residual, over_kept, gshard, f32, everything) \
  X(top_2_cosine, fallback, probability, class_token, depthwise_block, affinity, loss_free_bias, b16, everything) \
  X(top_2_cosine, reroute, random, token, gated_mlp, sum, switch_loss, dual_f64, pre_activation) \
  X(top_2_cosine, identity, gate, image_mean, conv_block, interpolated, gshard, dual_f32, everything)

TEST_CASE("compositions, part 2") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
