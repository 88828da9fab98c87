// The sparse arm on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "arm_moe.hpp"
#include "gpu_arms.hpp"

demo::arm_result demo::gpu::moe_f32(const settings& s, const polymoe::train_test& data) {
  return run_moe_arm<few_experts<float>, polymoe::cuda>(s, data, first_values);
}
