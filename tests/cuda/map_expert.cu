// Compiles experts that convolve for the GPU without a router, plain and depthwise ones in bf16 and float (double runs
// in tests/executor/map_expert_kernel_test.cpp).
// arch: sm_80
#include <polymoe/cuda.cuh>

namespace {
template <class Expert, class T>
void run(polymoe::context<polymoe::cuda>& c, const polymoe::backend::grouped_work& work, polymoe::view<T> x) {
  using expert_type = typename Expert::template module<T, polymoe::cuda>;
  expert_type m({.experts = 8, .in = 64, .hidden = 64, .out = 64, .unit_rows = 256});
  polymoe::visitor<polymoe::master_t<T>> v;
  m.visit(v);
  polymoe::binder<polymoe::cuda> b;
  auto saved = m.bind(b, x.rows);
  m.refresh(c);
  m.forward(c, work, polymoe::grouped::in_slot_order(polymoe::view<const T>(x)), x, saved);
  m.backward(c, work, x, x, saved, true);
}
}  // namespace

void run_map_experts(polymoe::context<polymoe::cuda>& c, const polymoe::backend::grouped_work& work,
                     polymoe::view<polymoe::bf16> x, polymoe::view<float> y) {
  using polymoe::expert::conv_block, polymoe::expert::depthwise_block;
  run<conv_block<polymoe::act::relu, 8, true>>(c, work, x), run<conv_block<>>(c, work, y);
  run<depthwise_block<>>(c, work, x), run<depthwise_block<>>(c, work, y);
}
