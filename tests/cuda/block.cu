// arch: sm_80
// Compiles the block primitives for the GPU.
#include <polymoe/backend/cuda/block_lanes.cuh>
#include <polymoe/router/order_key.hpp>

namespace polymoe {

template <class S>
POLYMOE_KERNEL void select_kernel(const S* score, int n, int count, int* chosen, S* sum) {
  auto* bytes = device::shared<unsigned char>();
  const device::block_lanes b{reinterpret_cast<double*>(bytes)};
  const S total =
      phase::sum<S>(b, n, [&](index i) { return score[i]; }) - phase::max<S>(b, n, [&](index i) { return score[i]; });
  const int taken = phase::select_first(
      b, n, count, reinterpret_cast<int*>(bytes + device::block_lanes::bytes),
      [&](int i) { return descending_key(score[i]); }, [&](int i, int position) { chosen[position] = i; });
  if (b.rank() == 0) *sum = total + static_cast<S>(taken);
}
template POLYMOE_KERNEL void select_kernel<float>(const float*, int, int, int*, float*);
template POLYMOE_KERNEL void select_kernel<double>(const double*, int, int, int*, double*);

}  // namespace polymoe
