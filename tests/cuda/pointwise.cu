// arch: sm_80
// Compiles the elementwise operations for the GPU: float, bf16 and double.
#include <polymoe/backend/cuda/dispatch/pointwise.cuh>
#include <polymoe/expert/activation.hpp>

namespace polymoe {

template <class Act, class T>
void activation_both(const context<cuda>& c, view<const T> x, view<T> y) {
  backend::activation_forward<Act, T>(c, x, y);
  backend::activation_backward<Act, T>(c, x, x, y);
}
template <class T>
void pointwise_all(const context<cuda>& c, view<const T> x, view<T> y) {
  activation_both<act::gelu_tanh>(c, x, y);
  activation_both<act::gelu_erf>(c, x, y);
  activation_both<act::silu>(c, x, y);
  activation_both<act::relu>(c, x, y);
  backend::add<T>(c, x, x, y);
  backend::copy(c, x, y);
  backend::dropout_apply<T>(c, 7, 0.1, x, y);
}
template void pointwise_all<float>(const context<cuda>&, view<const float>, view<float>);
template void pointwise_all<bf16>(const context<cuda>&, view<const bf16>, view<bf16>);
template void pointwise_all<double>(const context<cuda>&, view<const double>, view<double>);

}  // namespace polymoe
