// Compiles first values of parameters for the GPU: Thrust's tabulate on the caller's stream.
#include <polymoe/backend/cuda/dispatch/initialise.cuh>

namespace polymoe {

template void first_values_on_device<float>(const cuda::stream&, const std::vector<param_entry>&, view<float>,
                                            std::uint64_t);
template void first_values_on_device<double>(const cuda::stream&, const std::vector<param_entry>&, view<double>,
                                             std::uint64_t);

}  // namespace polymoe
