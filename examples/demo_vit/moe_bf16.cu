// The sparse arm on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "arm_moe.hpp"
#include "gpu_arms.hpp"

demo::arm_result demo::gpu::moe_bf16(const settings& s, const polymoe::train_test& data) {
  return run_moe_arm<few_experts<polymoe::bf16>, polymoe::cuda>(s, data, first_values);
}
