// The golden files, PyTorch's values in float64, on the CUDA backend: what the CPU's tests in tests/golden compute, run
// by the host executor, to the same 1e-10.  tests/gpu/golden_test.cu is the same text on a GPU: there layers,
// attention, norms, convolutions, pools, the loss and optimisers meet a reference that is not ours.
// timeout: 600
#if !defined(__CUDACC__)
#include "host_executor.hpp"

#include "host_blaslt.hpp"
#endif

#include <polymoe/backend/cuda/dispatch/batch_norm.cuh>
#include <polymoe/backend/cuda/dispatch/conv.cuh>
#include <polymoe/backend/cuda/dispatch/group_norm.cuh>
#include <polymoe/backend/cuda/dispatch/pool2d.cuh>
#include <polymoe/cuda_nn.cuh>

#include "../golden/cases.hpp"
#include "../golden/map_cases.hpp"

TEST_CASE("golden files on CUDA: a dropless layer, hard capacity packed and padded, groups, a mixture of heads") {
  polymoe::golden_cases::dropless_layer<polymoe::cuda>();
  polymoe::golden_cases::limited_layers<polymoe::cuda>();
  polymoe::golden_cases::mixture_of_heads<polymoe::cuda>();
}

TEST_CASE("golden files on CUDA: a vision transformer, five steps of AdamW and of SGD") {
  polymoe::golden_cases::vision_transformer<polymoe::cuda>();
  polymoe::golden_cases::five_steps_of_adamw<polymoe::cuda>();
  polymoe::golden_cases::five_steps_of_sgd<polymoe::cuda>();
}

TEST_CASE("golden files on CUDA: a network of feature maps") {
  polymoe::golden_cases::feature_maps<polymoe::cuda>();
}
