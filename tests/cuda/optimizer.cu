// arch: sm_80
// Compiles the optimisers for the GPU: SGD and AdamW, float and double.
#include <polymoe/backend/cuda/dispatch/optimizer.cuh>

namespace polymoe {

template <class R>
void optimizer_all(const context<cuda>& c, const std::vector<param_entry>& entries, R* p, const R* g,
                   R* const* moments) {
  const backend::optimizer_pieces pieces(c.stream, entries);
  backend::optimizer_step(c, pieces, sgd{}, 1.0, p, g, moments);
  backend::optimizer_step(c, pieces, adamw{}, 1.0, p, g, moments, ema{}, p);
}
template void optimizer_all<float>(const context<cuda>&, const std::vector<param_entry>&, float*, const float*,
                                   float* const*);
template void optimizer_all<double>(const context<cuda>&, const std::vector<param_entry>&, double*, const double*,
                                    double* const*);

}  // namespace polymoe
