// 51 compositions on CUDA that meet every value of every axis and 1280 of the 3119 supported pairs of
// values of any two axes, 41 %; 13 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_1, reroute, random, token, gated_mlp, over_kept, loss_free_bias, f64, input) \
  X(top_2_relu, identity, random, class_token, conv_block, over_kept, kl_from_uniform, f32, everything) \
  X(top_2_standardized, drop_to_zero, gate, token, head, affinity, supervised, f32, nothing_without_output) \
  X(top_2_input_dropout, identity, probability, token, gated_mlp, over_chosen, of_scores, f64, input) \
  X(paper_b_head, reroute, position, class_token, gated_mlp, over_chosen, of_choices, b16, without_output) \
  X(top_2_transport, identity, probability, image_mean, gated_mlp, over_chosen, kl_to_uniform, f64, nothing_without_output) \
  X(top_2_transport_dense, reroute, random, image_mean, conv_block_residual, affinity, of_scores, f32, everything) \
  X(mixture, unlimited, position, class_token, conv_block, interpolated, of_scores, b16, everything) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, head, sum, supervised, b16, input) \
  X(expert_choice_noise, drop, probability, image_mean, conv_block_residual, over_kept, importance, f64, everything) \
  X(expert_choice_sinkhorn_plan, drop, random, class_token, identity, interpolated, kl_to_uniform, b16, pre_activation) \
  X(expert_choice_transport_dense, drop_to_zero, probability, image_mean, conv_block, over_chosen, supervised, f64, everything) \
  X(soft_slots, unlimited, position, token, gated_mlp, affinity, none, f32, input)

TEST_CASE("compositions on CUDA, part 0") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
