// What the library demo_vit_cuda offers the program.
#include <polymoe/backend/cuda/dispatch/initialise.cuh>
#include <polymoe/backend/cuda/dispatch/segments.cuh>

#include "../experiment/find_gpu.cuh"
#include "gpu_arms.hpp"

template std::vector<double> polymoe::backend::segment_squares<float>(const context<cuda_device>&, const float*,
                                                                      const std::vector<param_entry>&);

namespace demo {

void gpu::first_values(const polymoe::cuda::stream& s, const std::vector<polymoe::param_entry>& entries,
                       polymoe::view<float> values, std::uint64_t seed) {
  polymoe::first_values_on_device(s, entries, values, seed);
}

std::string find_gpu(std::string& missing) { return experiment::find_gpu(missing); }

arm_result run_moe_on_gpu(const settings& s, const polymoe::train_test& data) {
#if defined(POLYMOE_DEMO_F32)
  if (!s.bf16) return gpu::moe_f32(s, data);
#endif
  return gpu::moe_bf16(s, data);
}
arm_result run_dense_on_gpu(const settings& s, const polymoe::train_test& data) {
#if defined(POLYMOE_DEMO_F32)
  if (!s.bf16) return gpu::dense_f32(s, data);
#endif
  return gpu::dense_bf16(s, data);
}

}  // namespace demo
