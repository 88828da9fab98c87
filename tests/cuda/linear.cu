// arch: sm_80
// Compiles dense layers for the GPU: linear, the MLP of a transformer with a fused and a separate activation, and patch
// embedding, for float, bf16 and double.  A program that runs them links cublasLt.
#include <polymoe/backend/cuda/dispatch/linear.cuh>
#include <polymoe/backend/cuda/dispatch/pool.cuh>
#include <polymoe/nn/mlp_block.hpp>
#include <polymoe/nn/patch_embed.hpp>
#include <polymoe/polymoe.hpp>

namespace polymoe {

template <class Module>
void run_module(Module& m, binder<cuda>& b, context<cuda>& c, view<const typename Module::scalar> x,
                view<typename Module::scalar> y) {
  using T = typename Module::scalar;
  visitor<master_t<T>> v;
  m.visit(v);
  auto saved = m.bind(b, x.rows);
  m.refresh(c);
  m.forward(c, x, y, saved);
  m.backward(c, y, y, saved);
}
template <class T>
void linear_all(binder<cuda>& b, context<cuda>& c, view<const T> x, view<T> y) {
  nn::linear<T, cuda> one({.in = 192, .out = 384});
  run_module(one, b, c, x, y);
  nn::mlp_block<T, act::gelu_tanh, cuda> fused({.dim = 192, .hidden = 768});
  run_module(fused, b, c, x, y);
  nn::mlp_block<T, act::silu, cuda> separate({.dim = 192, .hidden = 768});
  run_module(separate, b, c, x, y);
  nn::patch_embed<T, cuda> patches({.height = 32, .width = 32, .patch = 4, .dim = 192});
  run_module(patches, b, c, x, y);
}
template void linear_all<float>(binder<cuda>&, context<cuda>&, view<const float>, view<float>);
template void linear_all<bf16>(binder<cuda>&, context<cuda>&, view<const bf16>, view<bf16>);
template void linear_all<double>(binder<cuda>&, context<cuda>&, view<const double>, view<double>);

// Strided batches with a scale, as attention uses them.
template class backend::blaslt_product<bf16, float>;

}  // namespace polymoe
