// Compiles modules on feature maps for the GPU: convolutions plain and depthwise, pooling, group and batch norm, in
// bf16 and float (double runs in tests/executor/maps_kernel_test.cpp).  A program that runs them links cublasLt.
// arch: sm_80
#include <polymoe/backend/cuda/dispatch/batch_norm.cuh>
#include <polymoe/backend/cuda/dispatch/conv.cuh>
#include <polymoe/backend/cuda/dispatch/group_norm.cuh>
#include <polymoe/backend/cuda/dispatch/pool2d.cuh>
#include <polymoe/core/workspace.hpp>
#include <polymoe/nn/batch_norm.hpp>
#include <polymoe/nn/conv2d.hpp>
#include <polymoe/nn/group_norm.hpp>
#include <polymoe/nn/pool2d.hpp>

namespace {
template <class Module, class T = typename Module::scalar>
void run(const typename Module::config& c, polymoe::index pixels, polymoe::index out_pixels) {
  polymoe::workspace<Module> w(Module(c), {.max_rows = 2 * pixels});
  const polymoe::index in = w.module().in_cols(), out = w.module().out_cols();
  polymoe::backend::device_block x(static_cast<std::size_t>(2 * pixels * in) * sizeof(T));
  polymoe::backend::device_block y(static_cast<std::size_t>(2 * out_pixels * out) * sizeof(T));
  const polymoe::view<T> a(static_cast<T*>(x.data()), 2 * pixels, in),
      b(static_cast<T*>(y.data()), 2 * out_pixels, out);
  w.forward(a, b), w.backward(b, a);
  if constexpr (requires { w.module().commit(w.ctx()); }) w.module().commit(w.ctx());
}
template <class T>
void all() {
  using conv = polymoe::nn::conv2d<T, polymoe::cuda>;
  using pool = polymoe::nn::pool2d<T, polymoe::cuda>;
  using norm = polymoe::nn::group_norm<T, polymoe::cuda>;
  typename conv::config c;
  c.in = 16, c.out = 16, c.height = 8, c.width = 8, c.padding = 1;
  run<conv>(c, 64, 64);
  c.depthwise = true;
  run<conv>(c, 64, 64);
  typename pool::config p;
  p.channels = 16, p.height = 8, p.width = 8;
  run<pool>(p, 64, 16);
  p.kind = polymoe::nn::pool2d_kind::mean;
  run<pool>(p, 64, 16);
  typename norm::config n;
  n.channels = 16, n.groups = 4, n.pixels = 64;
  run<norm>(n, 64, 64);
  run<polymoe::nn::batch_norm<T, polymoe::cuda>>({16}, 64, 64);
}
}  // namespace

void run_feature_maps() { all<polymoe::bf16>(), all<float>(); }
