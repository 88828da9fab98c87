// What the library demo_vit_cuda offers the program.
#include <polymoe/backend/cuda/graph.cuh>

#include "gpu_arms.hpp"

namespace demo {

std::string find_gpu(std::string& missing) {
  const polymoe::device::availability found = polymoe::device::find_gpu();
  missing = found.usable ? "" : found.text;
  return found.usable ? found.text : "";
}

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
