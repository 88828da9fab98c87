// 51 compositions on CUDA that meet every value of every axis and 1280 of the 3119 supported pairs of
// values of any two axes, 41 %; 13 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2, reroute, gate, image_mean, gated_mlp, interpolated, switch_loss, f64, pre_activation) \
  X(top_2_constant_noise, identity, gate, image_mean, conv_block_residual, affinity, of_choices, f64, everything) \
  X(top_2_dropout, fallback, probability, class_token, conv_block_residual, over_chosen, switch_loss, b16, everything) \
  X(top_2_bias, identity, gate, token, gated_mlp, sum, gshard, f32, nothing) \
  X(top_2_sinkhorn, drop_to_zero, position, token, identity, over_chosen, kl_from_uniform, f64, pre_activation) \
  X(top_2_transport_lbfgs, drop, random, class_token, gated_mlp, interpolated, supervised, f64, without_output) \
  X(top_1_balanced, fallback, gate, class_token, depthwise_block, sum, z_loss, b16, everything) \
  X(mixture_noise, unlimited, position, image_mean, depthwise_block, over_chosen, importance_of_scores, f32, everything) \
  X(expert_choice, drop, probability, class_token, identity, sum, none, b16, nothing_without_output) \
  X(expert_choice_bias, drop_to_zero, probability, token, gated_mlp, affinity, z_loss, b16, without_output) \
  X(expert_choice_transport, drop_to_zero, gate, token, mlp, over_chosen, kl_as_coded, f64, nothing) \
  X(expert_choice_transport_prices, drop_to_zero, random, class_token, depthwise_block, affinity, importance, f32, everything) \
  X(soft_slots_batch, unlimited, position, class_token, head, affinity, none, b16, nothing)

TEST_CASE("compositions on CUDA, part 1") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
