// What a plan's inverse as a list is made from: which unit every slot holds, and how many slots every unit has.
#pragma once

#include "../../../plan/sparse_plan.hpp"
#include "../device.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

inline constexpr int invert_threads = 256;

/// unit[s] = the unit in slot s, T where there is none; id[s] = s; count[t] += the slots of unit t (whole numbers, so
/// the order of additions changes nothing).  `count` has T + 1 zeros.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(invert_threads)
    units_of_slots_kernel(sparse_plan<C> p, unsigned* unit, int* id, int* count) {
  const int used = p.begin[p.all_experts];
  const index step = device::grid_size().volume() * invert_threads;
  for (index s = device::block_rank() * invert_threads + device::thread_rank(); s < p.max_slots; s += step) {
    const int t = s < used ? p.token[s] : -1;
    const bool holds = t >= 0 && t < p.tokens;
    unit[s] = static_cast<unsigned>(holds ? t : p.tokens);
    id[s] = static_cast<int>(s);
    if (holds) device::atomic_add(count + t, 1);
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
