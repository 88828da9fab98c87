// The arms inside the library demo_vit_cuda, one source file each.
#pragma once

#include "demo.hpp"

// Sums for norms of tensors; in gpu.cu, so that CUB is compiled once.
namespace polymoe::inline v0::backend {
template <class M>
std::vector<double> segment_squares(const context<cuda_device>&, const M* values, const std::vector<param_entry>&);
extern template std::vector<double> segment_squares<float>(const context<cuda_device>&, const float*,
                                                           const std::vector<param_entry>&);
}  // namespace polymoe

namespace demo::gpu {

/// First values of parameters, drawn where they lie; in gpu.cu, so that Thrust is compiled once.
void first_values(const polymoe::cuda::stream&, const std::vector<polymoe::param_entry>&, polymoe::view<float>,
                  std::uint64_t seed);

/// Few experts: fewer kernels to compile.
template <class T>
struct few_experts : vit_moe<T> {
  static constexpr int most_experts = static_cast<int>(most_experts_on_gpu);
};

arm_result moe_bf16(const settings&, const polymoe::train_test&);
arm_result dense_bf16(const settings&, const polymoe::train_test&);
arm_result moe_f32(const settings&, const polymoe::train_test&);
arm_result dense_f32(const settings&, const polymoe::train_test&);

}  // namespace demo::gpu
