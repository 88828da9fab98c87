// arch: sm_80
// Compiles softmax cross-entropy for the GPU: float, bf16 and double.
#include <polymoe/backend/cuda/dispatch/loss.cuh>

namespace polymoe {

template <class T>
void loss_all(context<cuda>& c, binder<cuda>& b, view<const T> x, std::span<const std::int32_t> labels, view<T> d,
              loss_report* report) {
  backend::cross_entropy_bind<T>(b, x.rows);
  backend::softmax_cross_entropy<T>(c, x, labels, 0.1, 1, d, report);
}
template void loss_all<float>(context<cuda>&, binder<cuda>&, view<const float>, std::span<const std::int32_t>,
                              view<float>, loss_report*);
template void loss_all<bf16>(context<cuda>&, binder<cuda>&, view<const bf16>, std::span<const std::int32_t>, view<bf16>,
                             loss_report*);
template void loss_all<double>(context<cuda>&, binder<cuda>&, view<const double>, std::span<const std::int32_t>,
                               view<double>, loss_report*);

}  // namespace polymoe
