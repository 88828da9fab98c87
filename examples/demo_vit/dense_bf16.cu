// The dense twin on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "arm_dense.hpp"
#include "gpu_arms.hpp"

demo::arm_result demo::gpu::dense_bf16(const settings& s, const polymoe::train_test& data) {
  return run_dense_arm<polymoe::bf16, polymoe::cuda>(s, data, first_values);
}
