// arch: sm_80
// Compiles layer normalisation for the GPU: rows of 16-byte accesses and of single elements, float, bf16 and double.
#include <polymoe/backend/cuda/dispatch/norm.cuh>

namespace polymoe {

template <class T>
void norm_all(context<cuda>& c, binder<cuda>& b, view<const T> x, view<const master_t<T>> p, view<T> y,
              view<compute_t<T>> stats, view<master_t<T>> d) {
  backend::layer_norm_bind<T>(b, x.rows, x.cols);
  backend::layer_norm_forward<T>(c, x, p, p, 1e-6, y, stats);
  backend::layer_norm_backward<T>(c, x, x, stats, p, d, d, y, x);
}
template void norm_all<float>(context<cuda>&, binder<cuda>&, view<const float>, view<const float>, view<float>,
                              view<float>, view<float>);
template void norm_all<bf16>(context<cuda>&, binder<cuda>&, view<const bf16>, view<const float>, view<bf16>,
                             view<float>, view<float>);
template void norm_all<double>(context<cuda>&, binder<cuda>&, view<const double>, view<const double>, view<double>,
                               view<double>, view<double>);

}  // namespace polymoe
