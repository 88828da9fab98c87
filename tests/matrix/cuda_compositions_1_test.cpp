// 45 compositions on CUDA that meet every value of every axis and 1165 of the 2782 supported pairs of
// values of any two axes, 41 %; 11 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2, fallback, probability, class_token, conv_block, over_chosen, switch_loss, b16, everything) \
  X(top_2_constant_noise, identity, random, image_mean, mlp, over_chosen, of_choices, f64, without_output) \
  X(top_2_standardized, reroute, random, image_mean, conv_block_residual, over_chosen, supervised, f32, everything) \
  X(top_2_input_dropout, identity, gate, class_token, gated_mlp, over_chosen, of_scores, f64, nothing_without_output) \
  X(top_2_sinkhorn, drop_to_zero, random, image_mean, gated_mlp, affinity, kl_as_coded, f64, input) \
  X(top_2_transport_lbfgs, fallback, gate, image_mean, head, over_kept, kl_to_uniform, b16, nothing_without_output) \
  X(hashed, drop_to_zero, position, class_token, conv_block_residual, sum, kl_from_uniform, f64, everything) \
  X(mixture_cosine_bias, unlimited, position, class_token, identity, affinity, supervised, b16, input) \
  X(expert_choice_bias, drop, probability, token, identity, affinity, of_scores, f32, nothing) \
  X(expert_choice_transport, drop_to_zero, random, class_token, depthwise_block, sum, of_scores, f32, everything) \
  X(positive, drop, probability, image_mean, conv_block_residual, affinity, relu_l1, f64, everything)

TEST_CASE("compositions on CUDA, part 1") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
