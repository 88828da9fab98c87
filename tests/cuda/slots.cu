// arch: sm_80
// Compiles Soft MoE layers for the GPU: images and the batch, normalised and plain, in bf16, float and double.  A
// program that runs them links cublasLt.
#include <polymoe/cuda.cuh>

namespace {
template <class T, class Axis, bool Normalised>
struct soft : polymoe::spec {
  using scalar = T;
  using router = polymoe::soft_slots<Axis, Normalised>;
};

template <class Spec>
double run(polymoe::index group_size) {
  using layer = polymoe::layer<Spec, polymoe::cuda>;
  using T = typename Spec::scalar;
  typename layer::config c;
  c.dim = 384, c.hidden = 1536, c.experts = 16, c.group_size = group_size, c.router.slots = 4;
  polymoe::workspace<layer> w(layer(c), {.max_rows = 64});
  polymoe::backend::device_block x(64 * 384 * sizeof(T)), y(64 * 384 * sizeof(T));
  const polymoe::view<T> in(static_cast<T*>(x.data()), 64, 384), out(static_cast<T*>(y.data()), 64, 384);
  w.forward(in, out), w.backward(out, in);
  const auto plan = w.module().plan(w.ctx(), w.saved());
  return w.module().stats(w.ctx(), w.saved()).entropy + static_cast<double>(plan.dispatch.get(0, 0));
}
}  // namespace

double run_soft_layers() {
  using polymoe::axis::batch, polymoe::axis::image, polymoe::bf16;
  return run<soft<bf16, image, true>>(16) + run<soft<float, image, true>>(16) + run<soft<double, batch, true>>(0) +
         run<soft<bf16, batch, false>>(0) + run<soft<float, image, false>>(16);
}
