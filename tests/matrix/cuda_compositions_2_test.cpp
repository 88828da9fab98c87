// 51 compositions on CUDA that meet every value of every axis and 1280 of the 3119 supported pairs of
// values of any two axes, 41 %; 13 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda_rest
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_group_limited, drop_to_zero, probability, class_token, identity, interpolated, importance_of_scores, b16, input) \
  X(top_2_learned_noise, identity, random, token, mlp, sum, load_shazeer, f32, pre_activation) \
  X(top_2_largest, reroute, probability, image_mean, depthwise_block, interpolated, gshard, f64, everything) \
  X(top_2_cosine, identity, gate, image_mean, identity, interpolated, loss_free_bias, f32, without_output) \
  X(top_2_sinkhorn_plan, fallback, position, image_mean, identity, affinity, kl_as_coded, f32, input) \
  X(top_2_transport_newton, identity, position, token, identity, interpolated, importance, b16, nothing) \
  X(fixed, drop_to_zero, random, token, mlp, over_kept, switch_loss, f32, input) \
  X(mixture_bias, unlimited, position, token, identity, over_kept, z_loss, f32, pre_activation) \
  X(expert_choice_sigmoid, drop, gate, token, gated_mlp, interpolated, kl_from_uniform, b16, input) \
  X(expert_choice_cosine, unlimited, position, token, head, over_kept, kl_to_uniform, f32, everything) \
  X(expert_choice_transport_lbfgs, drop, gate, image_mean, depthwise_block, over_kept, of_scores, f32, everything) \
  X(strictly_balanced, drop, probability, token, gated_mlp, over_kept, kl_as_coded, b16, nothing_without_output) \
  X(soft_slots_plain, unlimited, position, image_mean, conv_block, affinity, none, f64, everything)

TEST_CASE("compositions on CUDA, part 2") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
