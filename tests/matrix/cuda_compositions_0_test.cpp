// 45 compositions on CUDA that meet every value of every axis and 1165 of the 2782 supported pairs of
// values of any two axes, 41 %; 12 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_1, reroute, gate, class_token, gated_mlp, over_kept, gshard, b16, input) \
  X(top_2_relu, fallback, gate, class_token, identity, affinity, kl_from_uniform, f32, without_output) \
  X(top_2_learned_noise, drop, position, class_token, depthwise_block, over_kept, of_choices, b16, everything) \
  X(top_2_jitter, identity, probability, image_mean, depthwise_block, affinity, loss_free_bias, b16, everything) \
  X(paper_b_head, fallback, position, image_mean, mlp, over_chosen, load, b16, without_output) \
  X(top_2_transport, identity, gate, image_mean, conv_block, sum, importance_of_scores, f32, everything) \
  X(fixed, identity, probability, token, mlp, sum, kl_to_uniform, f64, input) \
  X(mixture_bias, unlimited, position, token, head, affinity, importance_of_scores, f64, without_output) \
  X(expert_choice_noise, drop_to_zero, gate, token, head, sum, z_loss, f32, without_output) \
  X(expert_choice_sinkhorn_plan, drop, random, token, mlp, over_kept, importance_of_scores, f64, nothing_without_output) \
  X(strictly_balanced, drop_to_zero, gate, class_token, head, sum, supervised, b16, nothing) \
  X(soft_slots_plain, unlimited, position, class_token, depthwise_block, affinity, none, f64, everything)

TEST_CASE("compositions on CUDA, part 0") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
