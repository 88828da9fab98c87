// arch: sm_80
// Compiles positions, pooling and patches for the GPU: rows of 16-byte accesses and of single elements.
#include <polymoe/backend/cuda/dispatch/pool.cuh>
#include <polymoe/nn/pool.hpp>
#include <polymoe/nn/positions.hpp>
#include <polymoe/polymoe.hpp>

namespace polymoe {

template <class T>
void pool_all(context<cuda>& c, const backend::patch_shape& s, view<const T> x, view<T> y) {
  typename nn::pool<T, cuda>::saved none;
  nn::pool<T, cuda>({.dim = 192, .tokens = 64}).forward(c, x, y, none);
  nn::pool<T, cuda>({.dim = 192, .tokens = 64}).backward(c, x, y, none);
  typename nn::positions<T, cuda>::saved nothing;
  nn::positions<T, cuda>({.dim = 192, .tokens = 64, .class_token = true}).forward(c, x, y, nothing);
  nn::positions<T, cuda>({.dim = 192, .tokens = 64, .class_token = true}).backward(c, x, y, nothing);
  backend::patches_forward<T>(c, s, x, y);
  backend::patches_backward<T>(c, s, x, y);
}
template void pool_all<float>(context<cuda>&, const backend::patch_shape&, view<const float>, view<float>);
template void pool_all<bf16>(context<cuda>&, const backend::patch_shape&, view<const bf16>, view<bf16>);
template void pool_all<double>(context<cuda>&, const backend::patch_shape&, view<const double>, view<double>);

}  // namespace polymoe
