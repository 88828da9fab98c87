// 45 compositions on CUDA that meet every value of every axis and 1165 of the 2782 supported pairs of
// values of any two axes, 41 %; 11 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda_rest
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_group_limited, drop_to_zero, probability, class_token, head, over_chosen, importance_of_scores, b16, input) \
  X(top_2_constant_noise, reroute, probability, token, identity, sum, load, f32, nothing_without_output) \
  X(top_2_dropout, drop, gate, token, mlp, sum, switch_loss, f32, pre_activation) \
  X(top_2_bias, drop_to_zero, gate, token, mlp, over_kept, loss_free_bias, f32, nothing_without_output) \
  X(top_2_sinkhorn_plan, reroute, position, class_token, mlp, affinity, z_loss, b16, pre_activation) \
  X(top_2_transport_newton, unlimited, position, image_mean, mlp, over_kept, of_scores, b16, pre_activation) \
  X(mixture, unlimited, position, token, gated_mlp, affinity, importance, b16, nothing_without_output) \
  X(mixture_sinkhorn_plan, unlimited, position, image_mean, gated_mlp, affinity, kl_to_uniform, f32, nothing) \
  X(expert_choice_cosine, drop_to_zero, random, image_mean, conv_block, over_chosen, importance, f64, everything) \
  X(expert_choice_transport_plan, drop, probability, image_mean, conv_block, over_kept, z_loss, f64, everything) \
  X(soft_slots, unlimited, position, class_token, conv_block, affinity, none, f32, everything)

TEST_CASE("compositions on CUDA, part 2") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
