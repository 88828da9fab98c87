// arch: sm_80
// The float and double instances of the grouped product, and float as tf32, through nvcc.
#include <polymoe/backend/cuda/dispatch/grouped.cuh>

namespace polymoe::grouped_instances {

template <class Precision, class T>
void step(device::stream_handle stream, const grouped::segments& rows, const grouped::rows_of<T>& x,
          const grouped::rows_of<T>& dy, const grouped::weights_of<T>& w, T* out, T* pre, T* dw, T* db, void* workspace,
          std::size_t bytes) {
  const grouped::epilogue::activate<act::gelu_tanh, T> hidden{out, 1536, pre, 1536, {}};
  const grouped::epilogue::activate_gradient<act::gelu_tanh, T> back{out, 384, pre, 384};
  grouped::forward<Precision>(stream, rows, x, w, 1536, 384, hidden);
  grouped::data_gradient<Precision>(stream, rows, dy, w, 1536, 384, back);
  grouped::weight_gradient<Precision>(stream, rows, dy, x, 1536, 384, dw, db, workspace, bytes);
}
template void step<grouped::exact>(device::stream_handle, const grouped::segments&, const grouped::rows_of<float>&,
                                   const grouped::rows_of<float>&, const grouped::weights_of<float>&, float*, float*,
                                   float*, float*, void*, std::size_t);
template void step<grouped::tf32>(device::stream_handle, const grouped::segments&, const grouped::rows_of<float>&,
                                  const grouped::rows_of<float>&, const grouped::weights_of<float>&, float*, float*,
                                  float*, float*, void*, std::size_t);
template void step<grouped::exact>(device::stream_handle, const grouped::segments&, const grouped::rows_of<double>&,
                                   const grouped::rows_of<double>&, const grouped::weights_of<double>&, double*,
                                   double*, double*, double*, void*, std::size_t);

}  // namespace polymoe::grouped_instances
