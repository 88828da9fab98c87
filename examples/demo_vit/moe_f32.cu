// The sparse arm on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "arm_moe.hpp"
#include "gpu_arms.hpp"

namespace {
struct few_experts : demo::vit_moe<float> {
  static constexpr int most_experts = static_cast<int>(demo::most_experts_on_gpu);
};
}  // namespace

demo::arm_result demo::gpu::moe_f32(const settings& s, const polymoe::train_test& data) {
  return run_moe_arm<few_experts, polymoe::cuda>(s, data);
}
