// Compiles the inverse of plans for the GPU: CUB's scan and radix sort of 32-bit keys.
// arch: sm_80
#include <polymoe/backend/cuda/dispatch/invert.cuh>

namespace polymoe {

template sparse_plan<float> backend::inverted<float>(const context<cuda>&, const sparse_plan<float>&, int*, int*, void*,
                                                     std::size_t);
template sparse_plan<double> backend::inverted<double>(const context<cuda>&, const sparse_plan<double>&, int*, int*,
                                                       void*, std::size_t);

}  // namespace polymoe
