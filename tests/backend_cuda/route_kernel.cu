// Compiles the router kernel for the GPU: the tiers, with and without noise and balance losses.
#include <polymoe/cuda.cuh>

namespace polymoe {
using noisy_router = top_k<2, score::noisy_learned<>>;
using noisy_balance = balance::sum<balance::importance, balance::load>;

void launch_all(device::stream_handle s, const route_rows_args<float>& a) {
  route_rows_cuda(s, top_k<2, score::softmax>{}, balance::sum<balance::switch_loss>{}, a);
  route_rows_cuda(s, noisy_router{}, noisy_balance{}, a);
  route_rows_cuda(s, mixture<score::softmax>{}, balance::sum<balance::kl_to_uniform>{}, a);
}
}  // namespace polymoe
