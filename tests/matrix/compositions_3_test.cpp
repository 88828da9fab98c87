// 753 compositions that meet all 552 supported triples of router, capacity and unit in double and all
// 2962 supported pairs of values of any two axes; 94 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 600
// with: second
#include "examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_bias, drop, probability, image_mean, depthwise_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_bias, reroute, position, image_mean, depthwise_block, affinity, kl_from_uniform, f64, everything) \
  X(top_2_bias, drop, random, class_token, identity, sum, kl_as_coded, f64, nothing) \
  X(top_2_bias, reroute, gate, class_token, mlp, sum, kl_as_coded, f64, without_output) \
  X(top_2_bias, drop_to_zero, gate, token, head, over_chosen, kl_to_uniform, f64, without_output) \
  X(top_2_bias, drop_to_zero, probability, image_mean, conv_block, over_kept, supervised, f64, everything) \
  X(top_2_bias, drop_to_zero, random, class_token, conv_block_residual, affinity, switch_loss, f64, everything) \
  X(top_2_bias, identity, gate, token, mlp, sum, gshard, f64, nothing_without_output) \
  X(top_2_bias, identity, probability, image_mean, gated_mlp, over_chosen, loss_free_bias, f64, pre_activation) \
  X(top_2_bias, identity, random, class_token, depthwise_block, over_kept, of_scores, f64, everything) \
  X(top_2_bias, reroute, random, class_token, conv_block_residual, affinity, switch_loss, f32, everything) \
  X(top_2_bias, identity, gate, token, gated_mlp, sum, gshard, b16, without_output) \
  X(top_2_bias, fallback, probability, image_mean, depthwise_block, over_chosen, loss_free_bias, dual_f64, everything) \
  X(top_2_bias, reroute, random, class_token, identity, over_kept, switch_loss, dual_f32, nothing_without_output) \
  X(top_2_cosine, drop_to_zero, probability, token, gated_mlp, affinity, none, f64, without_output) \
  X(top_2_cosine, drop_to_zero, random, image_mean, depthwise_block, sum, importance, f64, everything) \
  X(top_2_cosine, drop_to_zero, gate, class_token, conv_block, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_cosine, identity, probability, token, identity, over_kept, z_loss, f64, nothing_without_output) \
  X(top_2_cosine, identity, random, image_mean, conv_block_residual, affinity, kl_from_uniform, f64, everything) \
  X(top_2_cosine, identity, gate, class_token, mlp, sum, kl_as_coded, f64, pre_activation) \
  X(top_2_cosine, unlimited, position, token, gated_mlp, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_cosine, fallback, probability, token, head, over_chosen, kl_to_uniform, f64, input) \
  X(top_2_cosine, unlimited, position, image_mean, conv_block, over_kept, supervised, f64, everything) \
  X(top_2_cosine, fallback, random, image_mean, gated_mlp, over_kept, supervised, f64, nothing) \
  X(top_2_cosine, unlimited, position, class_token, head, affinity, switch_loss, f64, pre_activation) \
  X(top_2_cosine, fallback, position, class_token, head, affinity, switch_loss, f64, without_output) \
  X(top_2_cosine, drop, probability, token, identity, sum, gshard, f64, input) \
  X(top_2_cosine, reroute, gate, token, identity, sum, gshard, f64, nothing_without_output) \
  X(top_2_cosine, drop, random, image_mean, mlp, over_chosen, loss_free_bias, f64, nothing) \
  X(top_2_cosine, reroute, probability, image_mean, depthwise_block, over_chosen, loss_free_bias, f64, everything) \
  X(top_2_cosine, drop, gate, class_token, conv_block_residual, over_kept, of_scores, f64, everything) \
  X(top_2_cosine, reroute, random, class_token, mlp, over_kept, of_scores, f64, pre_activation) \
  X(top_2_cosine, identity, gate, image_mean, conv_block, affinity, gshard, f32, everything) \
  X(top_2_cosine, fallback, probability, class_token, conv_block_residual, sum, loss_free_bias, b16, everything) \
  X(top_2_cosine, reroute, random, token, mlp, over_chosen, switch_loss, dual_f64, pre_activation) \
  X(top_2_cosine, identity, gate, image_mean, depthwise_block, over_kept, gshard, dual_f32, everything) \
  X(paper_b_head, drop, gate, token, mlp, over_kept, none, f64, nothing_without_output) \
  X(paper_b_head, drop, probability, image_mean, conv_block, affinity, importance, f64, everything) \
  X(paper_b_head, drop_to_zero, gate, token, gated_mlp, over_chosen, importance_of_scores, f64, pre_activation) \
  X(paper_b_head, drop_to_zero, probability, image_mean, depthwise_block, over_kept, z_loss, f64, everything) \
  X(paper_b_head, drop_to_zero, random, class_token, head, affinity, kl_from_uniform, f64, input) \
  X(paper_b_head, identity, gate, token, identity, sum, kl_as_coded, f64, nothing) \
  X(paper_b_head, identity, probability, image_mean, mlp, over_chosen, kl_to_uniform, f64, without_output) \
  X(paper_b_head, identity, random, class_token, conv_block, over_kept, supervised, f64, everything) \
  X(paper_b_head, fallback, position, token, gated_mlp, affinity, switch_loss, f64, nothing_without_output) \
  X(paper_b_head, fallback, gate, image_mean, conv_block_residual, sum, gshard, f64, everything) \
  X(paper_b_head, unlimited, position, token, gated_mlp, affinity, load, f64, input) \
  X(paper_b_head, drop, random, class_token, conv_block_residual, sum, load, f64, everything) \
  X(paper_b_head, unlimited, position, image_mean, head, sum, load_shazeer, f64, nothing) \
  X(paper_b_head, reroute, position, image_mean, conv_block, affinity, load_shazeer, f64, everything) \
  X(paper_b_head, fallback, probability, class_token, depthwise_block, over_chosen, loss_free_bias, f64, everything) \
  X(paper_b_head, reroute, random, token, identity, over_kept, of_scores, f64, pre_activation) \
  X(paper_b_head, unlimited, position, class_token, identity, over_chosen, of_choices, f64, without_output) \
  X(paper_b_head, reroute, gate, class_token, conv_block_residual, sum, of_choices, f64, everything) \
  X(paper_b_head, fallback, probability, token, head, affinity, load_shazeer, f32, input) \
  X(paper_b_head, reroute, random, class_token, gated_mlp, sum, of_choices, b16, nothing) \
  X(paper_b_head, fallback, gate, token, head, over_chosen, load, dual_f64, without_output) \
  X(paper_b_head, identity, gate, token, identity, over_kept, load_shazeer, dual_f64, nothing_without_output) \
  X(paper_b_head, identity, probability, image_mean, conv_block, over_kept, load_shazeer, dual_f32, everything) \
  X(paper_b_head, reroute, random, class_token, depthwise_block, over_chosen, of_choices, dual_f32, everything) \
  X(top_2_sinkhorn, unlimited, position, token, head, over_chosen, none, f64, input) \
  X(top_2_sinkhorn, identity, probability, token, mlp, over_kept, none, f64, input) \
  X(top_2_sinkhorn, unlimited, position, image_mean, mlp, over_kept, importance, f64, nothing) \
  X(top_2_sinkhorn, identity, random, image_mean, gated_mlp, affinity, importance, f64, nothing) \
  X(top_2_sinkhorn, unlimited, position, class_token, depthwise_block, affinity, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn, identity, gate, class_token, conv_block, sum, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn, drop, probability, token, gated_mlp, sum, z_loss, f64, without_output) \
  X(top_2_sinkhorn, fallback, probability, token, head, over_chosen, z_loss, f64, without_output) \
  X(top_2_sinkhorn, drop, random, image_mean, identity, over_chosen, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_sinkhorn, fallback, random, image_mean, identity, over_kept, kl_from_uniform, f64, nothing_without_output) \
  X(top_2_sinkhorn, drop, gate, class_token, conv_block, over_kept, kl_as_coded, f64, everything) \
  X(top_2_sinkhorn, fallback, position, class_token, mlp, affinity, kl_as_coded, f64, pre_activation) \
  X(top_2_sinkhorn, drop_to_zero, probability, token, head, affinity, kl_to_uniform, f64, pre_activation) \
  X(top_2_sinkhorn, reroute, gate, token, gated_mlp, sum, kl_to_uniform, f64, input) \
  X(top_2_sinkhorn, drop_to_zero, random, image_mean, conv_block_residual, sum, supervised, f64, everything) \
  X(top_2_sinkhorn, reroute, probability, image_mean, identity, over_chosen, supervised, f64, nothing) \
  X(top_2_sinkhorn, drop_to_zero, gate, class_token, depthwise_block, over_chosen, of_scores, f64, everything) \
  X(top_2_sinkhorn, reroute, random, class_token, mlp, over_kept, of_scores, f64, without_output) \
  X(top_2_sinkhorn, reroute, random, class_token, conv_block_residual, affinity, kl_as_coded, f32, everything) \
  X(top_2_sinkhorn, identity, gate, image_mean, depthwise_block, sum, kl_to_uniform, b16, everything) \
  X(top_2_sinkhorn, fallback, probability, class_token, conv_block, over_chosen, supervised, dual_f64, everything) \
  X(top_2_sinkhorn, reroute, random, token, identity, over_kept, of_scores, dual_f32, nothing_without_output) \
  X(top_2_sinkhorn_plan, unlimited, position, token, head, affinity, none, f64, nothing_without_output) \
  X(top_2_sinkhorn_plan, identity, gate, token, identity, sum, none, f64, pre_activation) \
  X(top_2_sinkhorn_plan, unlimited, position, image_mean, gated_mlp, sum, importance, f64, pre_activation) \
  X(top_2_sinkhorn_plan, identity, probability, image_mean, mlp, over_chosen, importance, f64, input) \
  X(top_2_sinkhorn_plan, unlimited, position, class_token, conv_block_residual, over_chosen, importance_of_scores, f64, everything) \
  X(top_2_sinkhorn_plan, identity, random, class_token, gated_mlp, over_kept, importance_of_scores, f64, nothing) \
  X(top_2_sinkhorn_plan, drop, gate, token, identity, over_kept, z_loss, f64, input) \
  X(top_2_sinkhorn_plan, fallback, position, token, head, affinity, z_loss, f64, without_output) \
  X(top_2_sinkhorn_plan, drop, probability, image_mean, mlp, affinity, kl_from_uniform, f64, nothing) \
  X(top_2_sinkhorn_plan, fallback, gate, image_mean, conv_block_residual, sum, kl_from_uniform, f64, everything) \
  X(top_2_sinkhorn_plan, drop, random, class_token, gated_mlp, sum, kl_as_coded, f64, without_output) \
  X(top_2_sinkhorn_plan, fallback, probability, class_token, head, over_chosen, kl_as_coded, f64, nothing_without_output)

TEST_CASE("compositions, part 3") { matrix::examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
