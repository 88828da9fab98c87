// route_rows on CUDA: picks the row tier for the number of experts and launches the router kernel.
#pragma once

#include "../kernel/route.cuh"

namespace polymoe::inline v0 {

/// Launches over all tiles; asynchronous.  The caller's pointers must be device memory.
template <class Router, class Balance, class C>
void route_rows_cuda(device::stream_handle stream, const Router& router, const Balance& balance, const route_rows_args<C>& a) {
  require(a.experts >= 1 && a.experts <= max_experts, "route_rows: ", a.experts, " experts, supported are 1 to ", max_experts);
  if (a.tokens == 0) return;
  const int groups = (a.tokens + a.group_size - 1) / a.group_size;
  const device::launch_shape shape{.kernel = "route_rows", .grid = groups * a.tiles_per_group, .block = 32 * route_warps,
                                   .shared = route_rows_shared<Balance, C>(a.experts), .stream = stream};
  const auto run = [&]<int Tier>() {
    device::launch(shape, route_rows_kernel<Router, Balance, Tier, C>, router, balance, a);
  };
  if (a.experts <= 32) run.template operator()<32>();
  else if (a.experts <= 64) run.template operator()<64>();
  else if (a.experts <= 128) run.template operator()<128>();
  else if (a.experts <= 256) run.template operator()<256>();
  else run.template operator()<max_experts>();
}

}  // namespace polymoe
