// arch: sm_80 always
// Compiles the movers for the GPU: rows of 16-byte accesses and of single elements, float, bf16 and double.
#include <polymoe/cuda.cuh>

namespace polymoe {

template <class T>
void move_all(const context<cuda>& c, const sparse_plan<compute_t<T>>& p, view<const T> x, view<T> y,
              view<compute_t<T>> gates) {
  backend::gather<T>(c, p, x, 1, y);
  backend::combine_slots<T>(c, p, x, x, 1, y);
  backend::combine_backward<T>(c, p, x, x, x, 1, y, gates, gates);
  backend::gather_backward<T>(c, p, x, x, 1, y);
}
template void move_all<float>(const context<cuda>&, const sparse_plan<float>&, view<const float>, view<float>,
                              view<float>);
template void move_all<bf16>(const context<cuda>&, const sparse_plan<float>&, view<const bf16>, view<bf16>,
                             view<float>);
template void move_all<double>(const context<cuda>&, const sparse_plan<double>&, view<const double>, view<double>,
                               view<double>);

std::size_t first_block() {
  const backend::device_block block(1024);
  return block.size();
}

}  // namespace polymoe
