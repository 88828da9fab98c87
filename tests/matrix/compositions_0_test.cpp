// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 106 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: first
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_1, unlimited, position, token, mlp, affinity, none, f64, everything) \
  X(top_1, fallback, probability, class_token, gated_mlp, interpolated, none, f64, pre_activation) \
  X(top_1, unlimited, position, image_mean, gated_mlp, sum, importance, f64, pre_activation) \
  X(top_1, fallback, gate, token, head, affinity, importance, f64, without_output) \
  X(top_1, unlimited, position, class_token, identity, interpolated, importance_of_scores, f64, input) \
  X(top_1, reroute, probability, image_mean, identity, affinity, importance_of_scores, f64, nothing) \
  X(top_1, drop, gate, token, gated_mlp, over_chosen, z_loss, f64, nothing) \
  X(top_1, reroute, position, class_token, conv_block_residual, over_kept, z_loss, f64, everything) \
  X(top_1, drop, probability, image_mean, mlp, over_kept, kl_from_uniform, f64, without_output) \
  X(top_1, drop, random, class_token, conv_block, sum, kl_as_coded, f64, everything) \
  X(top_1, fallback, position, image_mean, identity, over_chosen, kl_as_coded, f64, nothing_without_output) \
  X(top_1, drop_to_zero, probability, token, head, sum, kl_to_uniform, f64, nothing_without_output) \
  X(top_1, drop_to_zero, gate, image_mean, conv_block_residual, interpolated, supervised, f64, everything) \
  X(top_1, drop_to_zero, probability, class_token, depthwise_block, over_chosen, switch_loss, f64, everything) \
  X(top_1, reroute, random, token, mlp, interpolated, switch_loss, f64, nothing_without_output) \
  X(top_1, identity, random, token, identity, over_kept, gshard, f64, pre_activation) \
  X(top_1, identity, random, image_mean, gated_mlp, affinity, loss_free_bias, f64, input) \
  X(top_1, identity, gate, class_token, mlp, sum, of_scores, f64, nothing) \
  X(top_1, identity, random, token, identity, sum, switch_loss, f32, without_output) \
  X(top_1, fallback, gate, image_mean, mlp, interpolated, gshard, b16, nothing_without_output) \
  X(top_1, reroute, probability, class_token, conv_block, over_chosen, loss_free_bias, dual_f64, everything) \
  X(top_1, identity, random, image_mean, conv_block_residual, over_kept, switch_loss, dual_f32, everything) \
  X(top_2, drop_to_zero, random, image_mean, identity, over_chosen, none, f64, without_output) \
  X(top_2, identity, probability, image_mean, conv_block, over_chosen, importance, f64, everything) \
  X(top_2, identity, gate, class_token, gated_mlp, over_kept, importance_of_scores, f64, nothing_without_output) \
  X(top_2, fallback, random, token, mlp, sum, importance_of_scores, f64, input) \
  X(top_2, drop_to_zero, random, class_token, head, affinity, z_loss, f64, pre_activation) \
  X(top_2, unlimited, position, token, head, over_chosen, kl_from_uniform, f64, input) \
  X(top_2, fallback, random, class_token, conv_block_residual, sum, kl_from_uniform, f64, everything) \
  X(top_2, identity, probability, token, mlp, interpolated, kl_as_coded, f64, without_output) \
  X(top_2, unlimited, position, class_token, gated_mlp, affinity, kl_to_uniform, f64, without_output) \
  X(top_2, fallback, gate, image_mean, conv_block, over_kept, kl_to_uniform, f64, everything) \
  X(top_2, drop, random, class_token, mlp, affinity, supervised, f64, nothing_without_output) \
  X(top_2, reroute, gate, token, gated_mlp, over_chosen, supervised, f64, input) \
  X(top_2, unlimited, position, image_mean, head, over_kept, switch_loss, f64, nothing) \
  X(top_2, drop, position, image_mean, depthwise_block, sum, gshard, f64, everything) \
  X(top_2, reroute, gate, class_token, mlp, over_chosen, gshard, f64, pre_activation) \
  X(top_2, drop, gate, token, identity, interpolated, loss_free_bias, f64, pre_activation) \
  X(top_2, drop_to_zero, probability, token, gated_mlp, over_kept, of_scores, f64, input) \
  X(top_2, reroute, random, image_mean, depthwise_block, interpolated, of_scores, f64, everything) \
  X(top_2, fallback, gate, class_token, gated_mlp, interpolated, gshard, f32, nothing_without_output) \
  X(top_2, reroute, probability, class_token, depthwise_block, sum, loss_free_bias, b16, everything) \
  X(top_2, identity, random, token, identity, over_kept, switch_loss, dual_f64, without_output) \
  X(top_2, fallback, gate, token, head, over_chosen, gshard, dual_f32, input) \
  X(top_2_group_limited, identity, gate, image_mean, depthwise_block, sum, none, f64, everything) \
  X(top_2_group_limited, drop, random, token, mlp, over_kept, importance, f64, input) \
  X(top_2_group_limited, reroute, gate, class_token, identity, interpolated, importance, f64, nothing_without_output) \
  X(top_2_group_limited, drop, probability, image_mean, conv_block_residual, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_group_limited, unlimited, position, image_mean, conv_block, interpolated, z_loss, f64, everything) \
  X(top_2_group_limited, fallback, probability, image_mean, depthwise_block, sum, z_loss, f64, everything) \
  X(top_2_group_limited, drop, gate, class_token, gated_mlp, interpolated, kl_from_uniform, f64, nothing) \
  X(top_2_group_limited, reroute, position, image_mean, conv_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_group_limited, drop_to_zero, gate, token, mlp, affinity, kl_as_coded, f64, nothing) \
  X(top_2_group_limited, identity, random, token, identity, interpolated, kl_to_uniform, f64, nothing) \
  X(top_2_group_limited, drop_to_zero, position, image_mean, identity, sum, supervised, f64, pre_activation) \
  X(top_2_group_limited, fallback, probability, class_token, head, over_kept, supervised, f64, without_output) \
  X(top_2_group_limited, identity, gate, class_token, conv_block_residual, affinity, switch_loss, f64, everything) \
  X(top_2_group_limited, reroute, random, token, gated_mlp, sum, switch_loss, f64, without_output) \
  X(top_2_group_limited, fallback, probability, token, head, affinity, gshard, f64, nothing) \
  X(top_2_group_limited, unlimited, position, token, head, sum, loss_free_bias, f64, without_output) \
  X(top_2_group_limited, drop_to_zero, probability, class_token, depthwise_block, over_kept, loss_free_bias, f64, everything) \
  X(top_2_group_limited, unlimited, position, class_token, identity, affinity, of_scores, f64, nothing_without_output) \
  X(top_2_group_limited, reroute, probability, image_mean, conv_block, over_chosen, loss_free_bias, f32, everything) \
  X(top_2_group_limited, identity, random, token, gated_mlp, over_kept, switch_loss, b16, nothing) \
  X(top_2_group_limited, fallback, gate, image_mean, mlp, sum, gshard, dual_f64, nothing_without_output) \
  X(top_2_group_limited, reroute, probability, class_token, identity, interpolated, loss_free_bias, dual_f32, without_output) \
  X(top_2_sigmoid, drop, random, image_mean, identity, over_kept, none, f64, nothing) \
  X(top_2_sigmoid, reroute, probability, image_mean, conv_block_residual, affinity, none, f64, everything) \
  X(top_2_sigmoid, drop_to_zero, gate, class_token, conv_block_residual, interpolated, importance, f64, everything) \
  X(top_2_sigmoid, drop_to_zero, probability, token, head, sum, importance_of_scores, f64, without_output) \
  X(top_2_sigmoid, identity, position, token, mlp, over_chosen, z_loss, f64, input) \
  X(top_2_sigmoid, drop_to_zero, random, image_mean, identity, over_chosen, kl_from_uniform, f64, pre_activation) \
  X(top_2_sigmoid, unlimited, position, token, head, over_kept, kl_as_coded, f64, pre_activation) \
  X(top_2_sigmoid, reroute, gate, token, gated_mlp, over_kept, kl_as_coded, f64, everything) \
  X(top_2_sigmoid, drop, probability, token, mlp, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_sigmoid, reroute, random, class_token, conv_block_residual, sum, kl_to_uniform, f64, everything) \
  X(top_2_sigmoid, unlimited, position, class_token, depthwise_block, affinity, supervised, f64, everything) \
  X(top_2_sigmoid, identity, random, class_token, identity, over_kept, switch_loss, f64, pre_activation) \
  X(top_2_sigmoid, fallback, random, class_token, gated_mlp, interpolated, switch_loss, f64, input) \
  X(top_2_sigmoid, unlimited, position, image_mean, gated_mlp, interpolated, gshard, f64, input) \
  X(top_2_sigmoid, identity, probability, image_mean, mlp, over_chosen, loss_free_bias, f64, nothing_without_output) \
  X(top_2_sigmoid, fallback, probability, image_mean, conv_block, sum, loss_free_bias, f64, everything) \
  X(top_2_sigmoid, drop, gate, class_token, conv_block, over_chosen, of_scores, f64, everything) \
  X(top_2_sigmoid, fallback, gate, token, head, affinity, of_scores, f64, without_output) \
  X(top_2_sigmoid, drop_to_zero, position, token, head, over_kept, kl_from_uniform, f32, pre_activation) \
  X(top_2_sigmoid, drop, position, image_mean, identity, over_chosen, kl_as_coded, b16, input) \
  X(top_2_sigmoid, drop, position, class_token, gated_mlp, interpolated, kl_to_uniform, dual_f64, nothing) \
  X(top_2_sigmoid, drop_to_zero, position, token, mlp, sum, supervised, dual_f32, nothing_without_output) \
  X(top_2_relu, unlimited, position, token, head, over_chosen, none, f64, nothing_without_output) \
  X(top_2_relu, reroute, random, token, mlp, interpolated, none, f64, input) \
  X(top_2_relu, unlimited, position, class_token, mlp, over_kept, importance, f64, nothing) \
  X(top_2_relu, fallback, probability, class_token, depthwise_block, sum, importance, f64, everything) \
  X(top_2_relu, drop_to_zero, probability, image_mean, conv_block, over_kept, importance_of_scores, f64, everything) \
  X(top_2_relu, drop, random, class_token, identity, interpolated, z_loss, f64, without_output) \
  X(top_2_relu, drop_to_zero, random, class_token, depthwise_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_relu, identity, gate, token, mlp, sum, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_relu, drop, probability, image_mean, identity, sum, kl_as_coded, f64, input) \
  X(top_2_relu, identity, probability, image_mean, gated_mlp, interpolated, kl_to_uniform, f64, pre_activation) \
  X(top_2_relu, drop_to_zero, gate, token, head, over_chosen, supervised, f64, nothing) \
  X(top_2_relu, identity, random, class_token, conv_block, over_chosen, supervised, f64, everything) \
  X(top_2_relu, drop, gate, token, gated_mlp, affinity, switch_loss, f64, pre_activation) \
  X(top_2_relu, unlimited, position, image_mean, conv_block_residual, interpolated, gshard, f64, everything) \
  X(top_2_relu, reroute, gate, class_token, gated_mlp, over_kept, gshard, f64, without_output) \
  X(top_2_relu, fallback, position, token, head, over_kept, loss_free_bias, f64, nothing) \
  X(top_2_relu, reroute, position, image_mean, conv_block_residual, over_chosen, loss_free_bias, f64, everything) \
  X(top_2_relu, fallback, gate, image_mean, head, affinity, of_scores, f64, pre_activation)

TEST_CASE("compositions, part 0") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
