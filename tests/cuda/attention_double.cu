// arch: sm_80
// Compiles attention for the GPU: multiply-adds of double, slices of 32 columns.
#include <polymoe/backend/cuda/dispatch/attention.cuh>

namespace polymoe {

void attention_all(context<cuda>& c, binder<cuda>& b, const backend::attention_shape& s, view<const double> qkv,
                   view<double> o) {
  const view<double> kept = backend::attention_bind<double>(b, s, 1, true);
  backend::attention_forward<double>(c, s, qkv, o, kept);
  backend::attention_backward<double>(c, s, qkv, o, kept, o, o);
}

}  // namespace polymoe
