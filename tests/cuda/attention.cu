// arch: sm_80
// Compiles attention for the GPU: matrix instructions of bf16, slices of 32 and 64 columns.
#include <polymoe/backend/cuda/dispatch/attention.cuh>

namespace polymoe {

void attention_all(context<cuda>& c, binder<cuda>& b, const backend::attention_shape& s, view<const bf16> qkv,
                   view<bf16> o) {
  const view<bf16> kept = backend::attention_bind<bf16>(b, s, 1, true);
  backend::attention_forward<bf16>(c, s, qkv, o, kept);
  backend::attention_backward<bf16>(c, s, qkv, o, kept, o, o);
}

}  // namespace polymoe
