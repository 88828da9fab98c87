// Compiles first values of parameters for the GPU: Thrust's tabulate on the caller's stream.  And a layer that
// route_sorted.cu has too (linked.cuh).
// arch: sm_80
#include "linked.cuh"

namespace polymoe {

template void first_values_on_device<float>(const cuda::stream&, const std::vector<param_entry>&, view<float>,
                                            std::uint64_t);
template void first_values_on_device<double>(const cuda::stream&, const std::vector<param_entry>&, view<double>,
                                             std::uint64_t);

linked::answer linked::of_initialise() { return run_layer(); }

}  // namespace polymoe
