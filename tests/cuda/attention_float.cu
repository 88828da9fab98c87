// arch: sm_80
// Compiles attention for the GPU: multiply-adds of float, slices of 32 and 64 columns.
#include <polymoe/backend/cuda/dispatch/attention.cuh>

namespace polymoe {

void attention_all(context<cuda>& c, binder<cuda>& b, const backend::attention_shape& s, view<const float> qkv,
                   view<float> o) {
  const view<float> kept = backend::attention_bind<float>(b, s, 1, true);
  backend::attention_forward<float>(c, s, qkv, o, kept);
  backend::attention_backward<float>(c, s, qkv, o, kept, o, o);
}

}  // namespace polymoe
