// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 107 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: fourth
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(expert_choice_transport, drop, probability, class_token, depthwise_block, over_kept, kl_as_coded, b16, everything) \
  X(expert_choice_transport, drop, random, token, identity, affinity, kl_to_uniform, dual_f64, input) \
  X(expert_choice_transport, drop_to_zero, gate, image_mean, conv_block, sum, supervised, dual_f32, everything) \
  X(expert_choice_transport_lbfgs, drop, gate, token, gated_mlp, interpolated, none, f64, nothing_without_output) \
  X(expert_choice_transport_lbfgs, drop, probability, image_mean, identity, over_chosen, importance, f64, pre_activation) \
  X(expert_choice_transport_lbfgs, drop, random, class_token, mlp, over_kept, importance_of_scores, f64, input) \
  X(expert_choice_transport_lbfgs, drop_to_zero, gate, token, head, affinity, z_loss, f64, nothing) \
  X(expert_choice_transport_lbfgs, drop_to_zero, probability, image_mean, depthwise_block, sum, kl_from_uniform, f64, everything) \
  X(expert_choice_transport_lbfgs, drop_to_zero, random, class_token, conv_block, interpolated, kl_as_coded, f64, everything) \
  X(expert_choice_transport_lbfgs, unlimited, position, token, identity, over_kept, kl_to_uniform, f64, nothing) \
  X(expert_choice_transport_lbfgs, unlimited, position, image_mean, mlp, affinity, supervised, f64, without_output) \
  X(expert_choice_transport_lbfgs, unlimited, position, class_token, conv_block_residual, sum, of_scores, f64, everything) \
  X(expert_choice_transport_lbfgs, drop, probability, token, mlp, interpolated, of_scores, f32, nothing) \
  X(expert_choice_transport_lbfgs, drop_to_zero, random, class_token, gated_mlp, over_chosen, none, b16, without_output) \
  X(expert_choice_transport_lbfgs, drop, gate, image_mean, conv_block_residual, over_kept, importance, dual_f64, everything) \
  X(expert_choice_transport_lbfgs, drop_to_zero, probability, class_token, depthwise_block, affinity, importance_of_scores, dual_f32, everything) \
  X(expert_choice_transport_plan, drop, gate, token, identity, sum, none, f64, pre_activation) \
  X(expert_choice_transport_plan, drop, probability, image_mean, mlp, interpolated, importance, f64, input) \
  X(expert_choice_transport_plan, drop, random, class_token, gated_mlp, over_chosen, importance_of_scores, f64, nothing) \
  X(expert_choice_transport_plan, drop_to_zero, gate, token, head, over_kept, z_loss, f64, without_output) \
  X(expert_choice_transport_plan, drop_to_zero, probability, image_mean, depthwise_block, affinity, kl_from_uniform, f64, everything) \
  X(expert_choice_transport_plan, drop_to_zero, random, class_token, conv_block, sum, kl_as_coded, f64, everything) \
  X(expert_choice_transport_plan, unlimited, position, token, gated_mlp, over_chosen, kl_to_uniform, f64, without_output) \
  X(expert_choice_transport_plan, unlimited, position, image_mean, conv_block_residual, over_kept, supervised, f64, everything) \
  X(expert_choice_transport_plan, unlimited, position, class_token, head, affinity, of_scores, f64, nothing_without_output) \
  X(expert_choice_transport_plan, drop, random, token, identity, sum, z_loss, f32, nothing_without_output) \
  X(expert_choice_transport_plan, drop_to_zero, gate, token, head, over_chosen, kl_from_uniform, b16, pre_activation) \
  X(expert_choice_transport_plan, drop, probability, image_mean, conv_block, interpolated, kl_as_coded, dual_f64, everything) \
  X(expert_choice_transport_plan, drop_to_zero, random, class_token, conv_block_residual, over_kept, kl_to_uniform, dual_f32, everything) \
  X(expert_choice_transport_dense, drop, gate, token, gated_mlp, affinity, none, f64, input) \
  X(expert_choice_transport_dense, drop, probability, image_mean, depthwise_block, sum, importance, f64, everything) \
  X(expert_choice_transport_dense, drop, random, class_token, conv_block, interpolated, importance_of_scores, f64, everything) \
  X(expert_choice_transport_dense, drop_to_zero, gate, token, head, over_chosen, z_loss, f64, nothing) \
  X(expert_choice_transport_dense, drop_to_zero, probability, image_mean, identity, over_kept, kl_from_uniform, f64, without_output) \
  X(expert_choice_transport_dense, drop_to_zero, random, class_token, mlp, affinity, kl_as_coded, f64, nothing_without_output) \
  X(expert_choice_transport_dense, unlimited, position, token, identity, interpolated, kl_to_uniform, f64, nothing_without_output) \
  X(expert_choice_transport_dense, unlimited, position, image_mean, conv_block_residual, over_chosen, supervised, f64, everything) \
  X(expert_choice_transport_dense, unlimited, position, class_token, mlp, over_kept, of_scores, f64, pre_activation) \
  X(expert_choice_transport_dense, drop, gate, token, mlp, affinity, supervised, f32, input) \
  X(expert_choice_transport_dense, drop_to_zero, probability, image_mean, depthwise_block, sum, of_scores, b16, everything) \
  X(expert_choice_transport_dense, drop, random, class_token, gated_mlp, interpolated, none, dual_f64, nothing) \
  X(expert_choice_transport_dense, drop_to_zero, gate, token, head, over_chosen, importance, dual_f32, without_output) \
  X(expert_choice_transport_prices, drop, gate, token, identity, over_kept, none, f64, nothing) \
  X(expert_choice_transport_prices, drop, probability, image_mean, mlp, affinity, importance, f64, without_output) \
  X(expert_choice_transport_prices, drop, random, class_token, depthwise_block, sum, importance_of_scores, f64, everything) \
  X(expert_choice_transport_prices, drop_to_zero, gate, token, gated_mlp, interpolated, z_loss, f64, nothing_without_output) \
  X(expert_choice_transport_prices, drop_to_zero, probability, image_mean, conv_block, over_chosen, kl_from_uniform, f64, everything) \
  X(expert_choice_transport_prices, drop_to_zero, random, class_token, head, over_kept, kl_as_coded, f64, pre_activation) \
  X(expert_choice_transport_prices, unlimited, position, token, gated_mlp, sum, kl_to_uniform, f64, pre_activation) \
  X(expert_choice_transport_prices, unlimited, position, image_mean, conv_block_residual, interpolated, supervised, f64, everything) \
  X(expert_choice_transport_prices, unlimited, position, class_token, head, over_chosen, of_scores, f64, input) \
  X(expert_choice_transport_prices, drop, probability, image_mean, identity, over_kept, importance_of_scores, f32, nothing_without_output) \
  X(expert_choice_transport_prices, drop_to_zero, random, class_token, mlp, affinity, z_loss, b16, pre_activation) \
  X(expert_choice_transport_prices, drop, gate, image_mean, conv_block, sum, kl_from_uniform, dual_f64, everything) \
  X(expert_choice_transport_prices, drop_to_zero, probability, token, gated_mlp, interpolated, kl_as_coded, dual_f32, input) \
  X(strictly_balanced, drop_to_zero, position, token, gated_mlp, over_chosen, none, f64, without_output) \
  X(strictly_balanced, drop_to_zero, gate, image_mean, head, over_kept, importance, f64, nothing_without_output) \
  X(strictly_balanced, drop_to_zero, probability, class_token, depthwise_block, affinity, importance_of_scores, f64, everything) \
  X(strictly_balanced, drop, gate, token, identity, affinity, kl_to_uniform, f64, input) \
  X(strictly_balanced, drop, probability, image_mean, conv_block_residual, sum, supervised, f64, everything) \
  X(strictly_balanced, drop, random, class_token, mlp, interpolated, of_scores, f64, nothing) \
  X(strictly_balanced, drop, probability, image_mean, conv_block_residual, affinity, kl_as_coded, f32, everything) \
  X(strictly_balanced, drop_to_zero, random, class_token, depthwise_block, sum, kl_to_uniform, b16, everything) \
  X(strictly_balanced, drop, random, class_token, conv_block, over_chosen, z_loss, dual_f64, everything) \
  X(strictly_balanced, drop_to_zero, gate, token, head, over_kept, kl_from_uniform, dual_f32, pre_activation) \
  X(positive, drop_to_zero, probability, class_token, mlp, over_kept, z_loss, f64, pre_activation) \
  X(positive, unlimited, position, token, identity, sum, relu_l1, f64, pre_activation) \
  X(positive, unlimited, position, image_mean, conv_block, interpolated, relu_l1, f64, everything) \
  X(positive, unlimited, position, class_token, mlp, over_chosen, relu_l1, f64, input) \
  X(positive, drop, random, token, gated_mlp, over_kept, relu_l1, f64, nothing) \
  X(positive, drop, gate, image_mean, conv_block_residual, affinity, relu_l1, f64, everything) \
  X(positive, drop, probability, class_token, identity, sum, relu_l1, f64, without_output) \
  X(positive, drop_to_zero, random, token, head, over_chosen, relu_l1, f64, nothing_without_output) \
  X(positive, drop_to_zero, gate, image_mean, depthwise_block, interpolated, relu_l1, f64, everything) \
  X(positive, drop, random, class_token, depthwise_block, over_kept, importance_of_scores, f32, everything) \
  X(positive, drop, gate, token, identity, interpolated, supervised, f32, nothing) \
  X(positive, drop, probability, class_token, conv_block_residual, over_chosen, relu_l1, f32, everything) \
  X(positive, drop_to_zero, gate, token, mlp, affinity, kl_from_uniform, b16, without_output) \
  X(positive, drop_to_zero, random, token, head, over_kept, relu_l1, b16, without_output) \
  X(positive, drop_to_zero, probability, image_mean, mlp, over_kept, of_scores, b16, without_output) \
  X(positive, drop, gate, token, identity, interpolated, none, dual_f64, nothing) \
  X(positive, drop, probability, image_mean, gated_mlp, sum, kl_as_coded, dual_f64, nothing_without_output) \
  X(positive, drop, gate, token, gated_mlp, sum, relu_l1, dual_f64, nothing_without_output) \
  X(positive, drop_to_zero, probability, image_mean, conv_block_residual, over_chosen, importance, dual_f32, everything) \
  X(positive, drop_to_zero, random, class_token, head, over_chosen, kl_to_uniform, dual_f32, input) \
  X(positive, drop_to_zero, probability, image_mean, identity, interpolated, relu_l1, dual_f32, without_output) \
  X(soft_slots, unlimited, position, token, gated_mlp, affinity, none, f64, input) \
  X(soft_slots, unlimited, position, image_mean, conv_block, affinity, none, f64, everything) \
  X(soft_slots, unlimited, position, class_token, head, affinity, none, f64, nothing) \
  X(soft_slots, unlimited, position, image_mean, conv_block_residual, affinity, none, f32, everything) \
  X(soft_slots, unlimited, position, class_token, depthwise_block, affinity, none, b16, everything) \
  X(soft_slots, unlimited, position, class_token, mlp, affinity, none, dual_f64, pre_activation) \
  X(soft_slots, unlimited, position, token, identity, affinity, none, dual_f32, input) \
  X(soft_slots_batch, unlimited, position, token, identity, affinity, none, f64, pre_activation) \
  X(soft_slots_batch, unlimited, position, image_mean, conv_block_residual, affinity, none, f64, everything) \
  X(soft_slots_batch, unlimited, position, class_token, mlp, affinity, none, f64, input) \
  X(soft_slots_batch, unlimited, position, class_token, conv_block, affinity, none, f32, everything) \
  X(soft_slots_batch, unlimited, position, image_mean, depthwise_block, affinity, none, b16, everything) \
  X(soft_slots_batch, unlimited, position, token, gated_mlp, affinity, none, dual_f64, nothing) \
  X(soft_slots_batch, unlimited, position, image_mean, head, affinity, none, dual_f32, pre_activation) \
  X(soft_slots_plain, unlimited, position, token, gated_mlp, affinity, none, f64, nothing) \
  X(soft_slots_plain, unlimited, position, image_mean, depthwise_block, affinity, none, f64, everything) \
  X(soft_slots_plain, unlimited, position, class_token, head, affinity, none, f64, pre_activation) \
  X(soft_slots_plain, unlimited, position, image_mean, conv_block, affinity, none, f32, everything) \
  X(soft_slots_plain, unlimited, position, class_token, conv_block_residual, affinity, none, b16, everything) \
  X(soft_slots_plain, unlimited, position, token, mlp, affinity, none, dual_f64, input) \
  X(soft_slots_plain, unlimited, position, class_token, identity, affinity, none, dual_f32, nothing)

TEST_CASE("compositions, part 7") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
