// Compiles the router with biases, with jitter and dropout of its input, and with cosines.
// arch: sm_80
#include <polymoe/cuda.cuh>

namespace polymoe {
using noisy = with_bias<top_k<2, score::gate_jitter<score::gate_dropout<>>>>;
using both = with_bias<top_k<2, score::gate_jitter<score::noisy_learned<>>>>;
using cosine = with_bias<with_cosine<top_k<2, score::noisy_learned<>>>>;
using plain_cosine = with_cosine<top_k<2>, false>;
using drop = capacity::bounded<overflow::drop>;
using none = balance::sum<>;
using combine::affinity;

void launch_inputs(device::stream_handle s, const route_args<bf16>& a, const route_backward_args<bf16>& b,
                   const route_args<float>& f) {
  route_forward_cuda<noisy, drop, none, affinity, 32>(s, {}, {}, {}, a);
  route_backward_cuda<noisy, drop, none, affinity, 32>(s, {}, {}, {}, b);
  route_forward_cuda<both, drop, none, affinity, 32>(s, {}, {}, {}, f);
  route_forward_cuda<cosine, drop, none, affinity, 32>(s, {}, {}, {}, a);
  route_backward_cuda<cosine, drop, none, affinity, 32>(s, {}, {}, {}, b);
  route_forward_cuda<plain_cosine, drop, none, affinity, 32>(s, {}, {}, {}, f);
}
}  // namespace polymoe
