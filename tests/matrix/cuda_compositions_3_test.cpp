// 45 compositions on CUDA that meet every value of every axis and 1165 of the 2782 supported pairs of
// values of any two axes, 41 %; 11 of them.
// Written by `support_matrix write`; the test matrix/cover checks it.
// timeout: 900
// with: cuda_rest
#include "cuda_examine.hpp"

#define MATRIX_COMPOSITIONS(X) \
  X(top_2_sigmoid, identity, position, image_mean, identity, over_kept, switch_loss, f64, nothing) \
  X(top_2_learned_noise, fallback, probability, token, gated_mlp, over_chosen, load_shazeer, f32, pre_activation) \
  X(top_2_largest, fallback, random, token, head, sum, gshard, f64, pre_activation) \
  X(top_2_cosine, drop, probability, token, gated_mlp, over_kept, supervised, f64, without_output) \
  X(top_2_sinkhorn_clean, drop, random, token, mlp, over_chosen, kl_from_uniform, b16, nothing) \
  X(top_1_balanced, reroute, gate, class_token, depthwise_block, over_kept, importance, f64, everything) \
  X(mixture_noise, unlimited, position, token, head, over_chosen, kl_as_coded, f32, everything) \
  X(expert_choice, drop_to_zero, random, class_token, identity, over_chosen, kl_to_uniform, b16, pre_activation) \
  X(expert_choice_sinkhorn, drop, gate, class_token, conv_block_residual, over_kept, kl_as_coded, b16, everything) \
  X(expert_choice_transport_prices, drop, gate, token, gated_mlp, sum, none, f32, input) \
  X(soft_slots_batch, unlimited, position, image_mean, conv_block_residual, affinity, none, b16, everything)

TEST_CASE("compositions on CUDA, part 3") { matrix::cuda_examine_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }
#undef MATRIX_COMPOSITIONS
