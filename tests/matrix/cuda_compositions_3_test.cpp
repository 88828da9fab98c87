// 51 compositions on CUDA that meet every value of every axis and 1280 of the 3119 supported pairs of
// values of any two axes, 41 %; 12 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda_rest
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_sigmoid, fallback, random, image_mean, head, over_chosen, z_loss, f64, nothing) \
  X(top_2_learned_noise, fallback, probability, image_mean, gated_mlp, interpolated, load, b16, nothing_without_output) \
  X(top_2_jitter, fallback, probability, class_token, mlp, affinity, loss_free_bias, b16, pre_activation) \
  X(paper_b_head, drop, gate, token, identity, over_kept, load, f64, nothing) \
  X(top_2_sinkhorn_clean, reroute, random, token, mlp, sum, importance_of_scores, f64, nothing_without_output) \
  X(top_2_transport_plan, fallback, probability, token, head, over_kept, importance_of_scores, f32, without_output) \
  X(hashed, unlimited, position, class_token, head, over_kept, gshard, b16, nothing_without_output) \
  X(mixture_cosine_bias, unlimited, position, class_token, conv_block_residual, interpolated, kl_as_coded, f64, everything) \
  X(expert_choice_relu, drop, gate, image_mean, conv_block, affinity, importance_of_scores, f64, everything) \
  X(expert_choice_sinkhorn, unlimited, position, image_mean, mlp, sum, kl_from_uniform, f32, without_output) \
  X(expert_choice_transport_plan, drop, position, class_token, mlp, interpolated, z_loss, b16, nothing_without_output) \
  X(positive, drop_to_zero, gate, image_mean, conv_block_residual, sum, relu_l1, f64, everything)

TEST_CASE("compositions on CUDA, part 3") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
