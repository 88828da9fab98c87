// The dense twin on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "arm_dense.hpp"
#include "gpu_arms.hpp"

demo::arm_result demo::gpu::dense_f32(const settings& s, const polymoe::train_test& data) {
  return run_dense_arm<float, polymoe::cuda>(s, data, first_values);
}
