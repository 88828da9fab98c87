// Compiles the router with an ordered priority, and with it the only file of the router that includes CUB.  And a layer
// that initialise.cu has too (linked.cuh).
// arch: sm_80
// spills: yes
#include "linked.cuh"

namespace polymoe {
using router = top_k<2, score::softmax>;
using limited = group_limited<2, 4, 2>;
using by_gate = capacity::bounded<overflow::reroute<2>, priority::gate>;
using by_probability = capacity::bounded<overflow::identity, priority::probability>;
using none = balance::sum<>;

std::size_t launch_sorted(device::stream_handle s, const route_args<bf16>& a, const route_args<double>& d) {
  const route_sort sort = device::radix_sort();
  route_forward_cuda<limited, by_gate, none, combine::affinity, 32>(s, {}, {}, {}, a, sort);
  route_forward_cuda<router, by_probability, none, combine::renormalised<>, 32>(s, {}, {}, {}, d, sort);
  return route_workspace_bytes<limited, by_gate, none>(a.plan, sort);
}

linked::answer linked::of_sorted() { return run_layer(); }
}  // namespace polymoe
