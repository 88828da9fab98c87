// 850 compositions that meet all 624 supported triples of router, capacity and unit in double and all
// 3313 supported pairs of values of any two axes; 107 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: second
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(paper_b_head, drop, gate, token, gated_mlp, affinity, none, f64, pre_activation) \
  X(paper_b_head, drop, probability, image_mean, identity, sum, importance, f64, input) \
  X(paper_b_head, drop_to_zero, gate, token, head, over_chosen, importance_of_scores, f64, nothing) \
  X(paper_b_head, drop_to_zero, probability, image_mean, conv_block, over_kept, z_loss, f64, everything) \
  X(paper_b_head, drop_to_zero, random, class_token, mlp, affinity, kl_from_uniform, f64, without_output) \
  X(paper_b_head, identity, gate, token, gated_mlp, sum, kl_as_coded, f64, nothing_without_output) \
  X(paper_b_head, identity, probability, image_mean, identity, interpolated, kl_to_uniform, f64, pre_activation) \
  X(paper_b_head, identity, random, class_token, conv_block_residual, over_chosen, supervised, f64, everything) \
  X(paper_b_head, fallback, position, token, head, over_kept, switch_loss, f64, input) \
  X(paper_b_head, fallback, gate, image_mean, depthwise_block, affinity, gshard, f64, everything) \
  X(paper_b_head, unlimited, position, token, mlp, interpolated, load, f64, without_output) \
  X(paper_b_head, drop, random, class_token, conv_block_residual, interpolated, load, f64, everything) \
  X(paper_b_head, unlimited, position, image_mean, head, over_chosen, load_shazeer, f64, nothing_without_output) \
  X(paper_b_head, reroute, position, image_mean, conv_block_residual, over_chosen, load_shazeer, f64, everything) \
  X(paper_b_head, fallback, probability, class_token, conv_block, sum, loss_free_bias, f64, everything) \
  X(paper_b_head, reroute, random, token, mlp, interpolated, of_scores, f64, nothing) \
  X(paper_b_head, unlimited, position, class_token, depthwise_block, over_kept, of_choices, f64, everything) \
  X(paper_b_head, reroute, gate, class_token, depthwise_block, over_kept, of_choices, f64, everything) \
  X(paper_b_head, fallback, probability, token, head, over_chosen, load_shazeer, f32, input) \
  X(paper_b_head, reroute, random, class_token, identity, over_kept, of_choices, b16, nothing) \
  X(paper_b_head, identity, gate, token, mlp, affinity, load, dual_f64, without_output) \
  X(paper_b_head, reroute, gate, token, gated_mlp, interpolated, load_shazeer, dual_f64, nothing_without_output) \
  X(paper_b_head, fallback, probability, image_mean, gated_mlp, sum, load_shazeer, dual_f32, nothing_without_output) \
  X(paper_b_head, fallback, gate, image_mean, depthwise_block, over_kept, of_choices, dual_f32, everything) \
  X(top_2_sinkhorn, unlimited, position, token, gated_mlp, affinity, none, f64, without_output) \
  X(top_2_sinkhorn, identity, probability, token, identity, over_kept, none, f64, without_output) \
  X(top_2_sinkhorn, unlimited, position, image_mean, head, sum, importance, f64, nothing_without_output) \
  X(top_2_sinkhorn, identity, random, image_mean, mlp, affinity, importance, f64, nothing_without_output) \
  X(top_2_sinkhorn, unlimited, position, class_token, conv_block, interpolated, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn, identity, gate, class_token, conv_block_residual, sum, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn, drop, probability, token, identity, over_chosen, z_loss, f64, pre_activation) \
  X(top_2_sinkhorn, fallback, probability, token, head, over_chosen, z_loss, f64, pre_activation) \
  X(top_2_sinkhorn, drop, random, image_mean, mlp, over_kept, kl_from_uniform, f64, input) \
  X(top_2_sinkhorn, fallback, random, image_mean, gated_mlp, interpolated, kl_from_uniform, f64, input) \
  X(top_2_sinkhorn, drop, gate, class_token, conv_block_residual, affinity, kl_as_coded, f64, everything) \
  X(top_2_sinkhorn, fallback, position, class_token, head, over_kept, kl_as_coded, f64, nothing) \
  X(top_2_sinkhorn, drop_to_zero, probability, token, gated_mlp, sum, kl_to_uniform, f64, nothing) \
  X(top_2_sinkhorn, reroute, gate, token, identity, affinity, kl_to_uniform, f64, without_output) \
  X(top_2_sinkhorn, drop_to_zero, random, image_mean, depthwise_block, interpolated, supervised, f64, everything) \
  X(top_2_sinkhorn, reroute, probability, image_mean, mlp, sum, supervised, f64, nothing_without_output) \
  X(top_2_sinkhorn, drop_to_zero, gate, class_token, conv_block, over_chosen, of_scores, f64, everything) \
  X(top_2_sinkhorn, reroute, random, class_token, gated_mlp, interpolated, of_scores, f64, pre_activation) \
  X(top_2_sinkhorn, reroute, random, class_token, conv_block_residual, interpolated, kl_from_uniform, f32, everything) \
  X(top_2_sinkhorn, identity, gate, token, identity, over_chosen, kl_as_coded, b16, pre_activation) \
  X(top_2_sinkhorn, fallback, probability, image_mean, depthwise_block, over_kept, kl_to_uniform, dual_f64, everything) \
  X(top_2_sinkhorn, reroute, random, class_token, conv_block, affinity, supervised, dual_f32, everything) \
  X(top_2_sinkhorn_plan, unlimited, position, token, head, over_chosen, none, f64, input) \
  X(top_2_sinkhorn_plan, identity, gate, token, mlp, interpolated, none, f64, nothing) \
  X(top_2_sinkhorn_plan, unlimited, position, image_mean, identity, over_kept, importance, f64, nothing) \
  X(top_2_sinkhorn_plan, identity, probability, image_mean, gated_mlp, over_chosen, importance, f64, without_output) \
  X(top_2_sinkhorn_plan, unlimited, position, class_token, depthwise_block, affinity, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn_plan, identity, random, class_token, identity, over_kept, importance_of_scores, f64, nothing_without_output) \
  X(top_2_sinkhorn_plan, drop, gate, token, mlp, sum, z_loss, f64, without_output) \
  X(top_2_sinkhorn_plan, fallback, position, token, head, affinity, z_loss, f64, pre_activation) \
  X(top_2_sinkhorn_plan, drop, probability, image_mean, gated_mlp, interpolated, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_sinkhorn_plan, fallback, gate, image_mean, depthwise_block, sum, kl_from_uniform, f64, everything) \
  X(top_2_sinkhorn_plan, drop, random, class_token, identity, over_chosen, kl_as_coded, f64, pre_activation) \
  X(top_2_sinkhorn_plan, fallback, probability, class_token, mlp, interpolated, kl_as_coded, f64, input) \
  X(top_2_sinkhorn_plan, drop_to_zero, gate, token, head, over_kept, kl_to_uniform, f64, input) \
  X(top_2_sinkhorn_plan, reroute, random, token, gated_mlp, over_chosen, kl_to_uniform, f64, nothing) \
  X(top_2_sinkhorn_plan, drop_to_zero, probability, image_mean, conv_block, affinity, supervised, f64, everything) \
  X(top_2_sinkhorn_plan, reroute, position, image_mean, conv_block, over_kept, supervised, f64, everything) \
  X(top_2_sinkhorn_plan, drop_to_zero, random, class_token, conv_block_residual, sum, of_scores, f64, everything) \
  X(top_2_sinkhorn_plan, reroute, gate, class_token, conv_block_residual, affinity, of_scores, f64, everything) \
  X(top_2_sinkhorn_plan, identity, gate, token, mlp, sum, of_scores, f32, input) \
  X(top_2_sinkhorn_plan, fallback, probability, image_mean, conv_block_residual, interpolated, importance, b16, everything) \
  X(top_2_sinkhorn_plan, fallback, random, class_token, head, over_chosen, importance_of_scores, dual_f64, nothing) \
  X(top_2_sinkhorn_plan, reroute, gate, token, gated_mlp, over_kept, kl_from_uniform, dual_f32, without_output) \
  X(top_2_sinkhorn_clean, unlimited, position, token, head, sum, none, f64, without_output) \
  X(top_2_sinkhorn_clean, identity, probability, token, mlp, affinity, none, f64, nothing_without_output) \
  X(top_2_sinkhorn_clean, unlimited, position, image_mean, identity, interpolated, importance, f64, nothing_without_output) \
  X(top_2_sinkhorn_clean, identity, random, image_mean, gated_mlp, sum, importance, f64, pre_activation) \
  X(top_2_sinkhorn_clean, unlimited, position, class_token, mlp, over_chosen, importance_of_scores, f64, pre_activation) \
  X(top_2_sinkhorn_clean, identity, gate, class_token, depthwise_block, interpolated, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn_clean, drop, probability, token, gated_mlp, over_kept, z_loss, f64, input) \
  X(top_2_sinkhorn_clean, fallback, probability, token, head, over_chosen, z_loss, f64, input) \
  X(top_2_sinkhorn_clean, drop, random, image_mean, depthwise_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_sinkhorn_clean, fallback, random, image_mean, identity, over_kept, kl_from_uniform, f64, nothing) \
  X(top_2_sinkhorn_clean, drop, gate, class_token, conv_block, sum, kl_as_coded, f64, everything) \
  X(top_2_sinkhorn_clean, fallback, position, class_token, mlp, affinity, kl_as_coded, f64, without_output) \
  X(top_2_sinkhorn_clean, drop_to_zero, probability, token, head, over_chosen, kl_to_uniform, f64, nothing) \
  X(top_2_sinkhorn_clean, reroute, gate, token, gated_mlp, sum, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_sinkhorn_clean, drop_to_zero, random, image_mean, conv_block_residual, interpolated, supervised, f64, everything) \
  X(top_2_sinkhorn_clean, reroute, probability, image_mean, conv_block, interpolated, supervised, f64, everything) \
  X(top_2_sinkhorn_clean, drop_to_zero, gate, class_token, identity, over_kept, of_scores, f64, without_output) \
  X(top_2_sinkhorn_clean, reroute, random, class_token, conv_block_residual, over_chosen, of_scores, f64, everything) \
  X(top_2_sinkhorn_clean, fallback, probability, image_mean, head, affinity, kl_as_coded, f32, nothing_without_output) \
  X(top_2_sinkhorn_clean, identity, random, class_token, depthwise_block, sum, kl_to_uniform, b16, everything) \
  X(top_2_sinkhorn_clean, reroute, gate, token, identity, interpolated, supervised, dual_f64, pre_activation) \
  X(top_2_sinkhorn_clean, identity, probability, image_mean, conv_block, over_chosen, of_scores, dual_f32, everything) \
  X(top_2_transport, unlimited, position, token, head, over_kept, none, f64, pre_activation) \
  X(top_2_transport, identity, gate, token, mlp, over_chosen, none, f64, input) \
  X(top_2_transport, unlimited, position, image_mean, identity, affinity, importance, f64, input) \
  X(top_2_transport, identity, probability, image_mean, gated_mlp, over_kept, importance, f64, nothing) \
  X(top_2_transport, unlimited, position, class_token, mlp, sum, importance_of_scores, f64, nothing) \
  X(top_2_transport, identity, random, class_token, depthwise_block, affinity, importance_of_scores, f64, everything) \
  X(top_2_transport, drop, gate, token, gated_mlp, interpolated, z_loss, f64, without_output) \
  X(top_2_transport, fallback, position, token, head, sum, z_loss, f64, without_output) \
  X(top_2_transport, drop, probability, image_mean, depthwise_block, over_chosen, kl_from_uniform, f64, everything) \
  X(top_2_transport, fallback, gate, image_mean, conv_block, interpolated, kl_from_uniform, f64, everything) \
  X(top_2_transport, drop, random, class_token, identity, over_kept, kl_as_coded, f64, nothing_without_output) \
  X(top_2_transport, fallback, probability, class_token, conv_block_residual, over_chosen, kl_as_coded, f64, everything) \
  X(top_2_transport, drop_to_zero, gate, token, head, affinity, kl_to_uniform, f64, pre_activation) \
  X(top_2_transport, reroute, random, token, identity, over_kept, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_transport, drop_to_zero, probability, image_mean, conv_block, sum, supervised, f64, everything) \
  X(top_2_transport, reroute, position, image_mean, depthwise_block, affinity, supervised, f64, everything) \
  X(top_2_transport, drop_to_zero, random, class_token, conv_block_residual, interpolated, of_scores, f64, everything)

TEST_CASE("compositions, part 3") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
