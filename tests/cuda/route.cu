// arch: sm_80
// Compiles the router for the GPU: every row tier of a plain router, noise with balance losses, a mixture.
#include <polymoe/cuda.cuh>

namespace polymoe {
using plain = top_k<2, score::softmax>;
using noisy = top_k<2, score::noisy_learned<>>;
using everyone = mixture<score::softmax>;
using drop = capacity::bounded<overflow::drop>;
using fallback = capacity::bounded<overflow::fallback>;
using switched = balance::sum<balance::switch_loss>;
using loads = balance::sum<balance::importance, balance::load>;
using divergence = balance::sum<balance::kl_to_uniform>;
using combine::affinity;

int launch_all(device::stream_handle s, const route_args<bf16>& a, const route_args<float>& f,
               const route_backward_args<bf16>& b) {
  route_forward_cuda<plain, drop, switched, affinity>(s, {}, {}, {}, a);
  route_backward_cuda<plain, drop, switched, affinity>(s, {}, {}, {}, b);
  route_forward_cuda<noisy, fallback, loads, affinity, 64>(s, {}, {}, {}, f);
  route_forward_cuda<everyone, drop, divergence, affinity, 32>(s, {}, {}, {}, f);
  return route_cooperative_blocks<plain, drop, switched, affinity>(a);
}
}  // namespace polymoe
