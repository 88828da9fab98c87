// arch: sm_80
// Compiles experts for the GPU without a router: batched products with every kind of epilogue and save policy, in bf16,
// float and double.  A program that runs them links cublasLt.
#include <polymoe/cuda.cuh>

namespace polymoe {

template <class Expert, class T, class Save>
void run_expert(binder<cuda>& b, context<cuda>& c, const sparse_plan<compute_t<T>>& p, view<const T> x, view<T> y,
                view<compute_t<T>> d_gate) {
  using expert_type = typename Expert::template module<T, cuda, Save>;
  expert_type m({.experts = 8, .in = 384, .hidden = 1536, .out = 384, .even = true});
  visitor<master_t<T>> v;
  m.visit(v);
  auto saved = m.bind(b, x.rows);
  m.refresh(c);
  backend::grouped_work work;
  work.list(p, 1);
  const auto rows = backend::expert_input<T>(c, p, x, 1, y);
  m.forward(c, work, rows, y, saved);
  m.backward(c, work, y, y, saved, true, expert_gates<T>{p, y, d_gate, 1});
}
template <class T>
void experts_all(binder<cuda>& b, context<cuda>& c, const sparse_plan<compute_t<T>>& p, view<const T> x, view<T> y,
                 view<compute_t<T>> g) {
  run_expert<expert::mlp<>, T, save::everything>(b, c, p, x, y, g);
  run_expert<expert::mlp<act::relu>, T, save::without_output<save::everything>>(b, c, p, x, y, g);
  run_expert<expert::mlp<act::gelu_erf, false>, T, save::pre_activation>(b, c, p, x, y, g);
  run_expert<expert::gated_mlp<>, T, save::without_output<save::nothing>>(b, c, p, x, y, g);
}
template void experts_all<bf16>(binder<cuda>&, context<cuda>&, const sparse_plan<float>&, view<const bf16>, view<bf16>,
                                view<float>);
template void experts_all<float>(binder<cuda>&, context<cuda>&, const sparse_plan<float>&, view<const float>,
                                 view<float>, view<float>);
template void experts_all<double>(binder<cuda>&, context<cuda>&, const sparse_plan<double>&, view<const double>,
                                  view<double>, view<double>);

}  // namespace polymoe
