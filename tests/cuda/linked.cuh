// One layer type that two files instantiate, each with every header of the CUDA backend that holds code of a library:
// what route_sorted.cu and initialise.cu share, and linked/main.cpp calls.
#pragma once

#include <polymoe/backend/cuda/dispatch/initialise.cuh>
#include <polymoe/backend/cuda/dispatch/sort.cuh>
#include <polymoe/cuda.cuh>
#include <polymoe/expert/identity.hpp>

#include "linked.hpp"

namespace polymoe::linked {

/// Few kernels: the router's with a sort, the movers'.
struct sorted_spec : spec {
  using router = top_k<1>;
  using capacity = polymoe::capacity::bounded<overflow::drop, priority::gate>;
  using expert = polymoe::expert::identity;
  static constexpr int most_experts = 32;
};

/// The layer's recipe and, where there is a GPU, how many of 64 units it placed; -1 without one.
inline answer run_layer() {
  using moe = layer<sorted_spec, cuda>;
  const moe::config c{.dim = 32, .hidden = 32, .experts = 4};
  answer a;
  a.recipe = moe(c).describe();
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return a;
  workspace<moe> w(moe(c), {.max_rows = 64, .threads = 1, .seed = 1}, first_values_on_device<float>);
  backend::device_block x(64 * 32 * sizeof(float)), y(x.size());
  device::clear(x.data(), x.size(), w.ctx().stream.handle);
  w.forward({static_cast<const float*>(x.data()), 64, 32}, {static_cast<float*>(y.data()), 64, 32});
  a.placed = w.module().stats(w.ctx(), w.saved()).placed;
  return a;
}

}  // namespace polymoe::linked
