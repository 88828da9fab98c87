// Compiles the norms of tensors for the GPU: CUB's reduction of segments on the caller's stream.
// arch: sm_80
#include <polymoe/backend/cuda/dispatch/segments.cuh>

namespace polymoe::backend {

template std::vector<double> segment_squares<float>(const context<cuda_device>&, const float*,
                                                    const std::vector<param_entry>&);
template std::vector<double> segment_squares<double>(const context<cuda_device>&, const double*,
                                                     const std::vector<param_entry>&);

}  // namespace polymoe::backend
