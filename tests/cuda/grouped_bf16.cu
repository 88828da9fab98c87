// arch: sm_80
// The bf16 instances of the grouped product that layers use, through nvcc.
#include <polymoe/backend/cuda/dispatch/grouped.cuh>

namespace polymoe::grouped_instances {

using gelu = act::gelu_tanh;

void forward(device::stream_handle stream, const grouped::segments& rows, const grouped::rows_of<bf16>& x,
             const grouped::weights_of<bf16>& w, const grouped::epilogue::activate<gelu, bf16>& hidden,
             const grouped::epilogue::plain<bf16>& out) {
  grouped::forward(stream, rows, x, w, 1536, 384, hidden);
  grouped::forward(stream, rows, x, w, 384, 1536, out);
}
void backward(
    device::stream_handle stream, const grouped::segments& rows, const grouped::rows_of<bf16>& dy,
    const grouped::rows_of<bf16>& x, const grouped::weights_of<bf16>& w,
    const grouped::epilogue::activate_gradient<gelu, bf16>& kept_output,
    const grouped::epilogue::activate_gradient<gelu, bf16, true, grouped::epilogue::gates_of_plan<float>>& hidden,
    float* dw, float* db, void* workspace, std::size_t bytes) {
  grouped::data_gradient(stream, rows, dy, w, 384, 1536, kept_output);
  grouped::data_gradient(stream, rows, dy, w, 384, 1536, hidden);
  grouped::weight_gradient(stream, rows, dy, x, 384, 1536, dw, db, workspace, bytes);
  grouped::sum_dots(stream, rows, hidden.dot, 1536, hidden.dot);
}

}  // namespace polymoe::grouped_instances
