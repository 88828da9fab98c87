// arch: sm_80
// Compiles whole layers for the GPU: a dropless float layer of gated experts that routes images, a mixture of heads in
// double.  The host code around the kernels is instantiated as well.  tests/gpu/graph_test.cu has those with capacity.
#include <polymoe/cuda.cuh>

namespace {
struct gated : polymoe::spec {
  using expert = polymoe::expert::gated_mlp<>;
  using unit = polymoe::unit::image<>;
  static constexpr int most_experts = 32;
};
struct mixture_head : polymoe::spec {
  using scalar = double;
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  static constexpr int most_experts = 32;
};

template <class Spec>
double run(typename polymoe::layer<Spec, polymoe::cuda>::config config) {
  using layer = polymoe::layer<Spec, polymoe::cuda>;
  using T = typename Spec::scalar;
  polymoe::workspace<layer> w(layer(config), {.max_rows = 64});
  const polymoe::index width = w.module().out_cols();
  polymoe::backend::device_block x(64 * static_cast<std::size_t>(config.dim + width) * sizeof(T));
  T* data = static_cast<T*>(x.data());
  const polymoe::view<T> in(data, 64, config.dim), out(data + 64 * config.dim, 64, width);
  w.forward(in, out), w.backward(out, in);
  w.module().commit(w.ctx());
  return w.module().stats(w.ctx(), w.saved()).drop_rate();
}
}  // namespace

double run_layers() {
  return run<gated>({.dim = 384, .hidden = 1536, .experts = 8, .unit_rows = 4}) +
         run<mixture_head>({.dim = 512, .hidden = 128, .experts = 4, .classes = 10});
}
