// block_group<N>: a row of experts spread over all N threads of a block.
//
// For rows so long that a warp would hold dozens of numbers per thread.  Reductions go through the warps and then
// through the first exchange_bytes of dynamic shared memory, which the kernel leaves to the group; every thread of the
// block takes part in every call.  All threads end with the same bits.
#pragma once

#include "warp_group.cuh"

namespace polymoe::inline v0 {

template <int Threads>
struct block_group {
  static_assert(Threads % 32 == 0 && Threads <= 1024,
                "polymoe: a block group has whole warps and at most 1024 threads");
  static constexpr int width = Threads;
  static constexpr int warps = Threads / 32;
  static constexpr std::size_t exchange_bytes = 32 * 16;

  POLYMOE_DEVICE int lane() const { return device::thread_rank(); }
  template <class S>
  POLYMOE_DEVICE S sum(S x) const {
    return exchange(warp_group{}.sum(x), [](S a, S b) { return a + b; });
  }
  template <class S>
  POLYMOE_DEVICE S max(S x) const {
    // The warp with the lower number wins among equals.
    return exchange(warp_group{}.max(x), [](S a, S b) { return b > a ? b : a; });
  }
  POLYMOE_DEVICE int min(int x) const {
    return exchange(warp_group{}.min(x), [](int a, int b) { return b < a ? b : a; });
  }
  POLYMOE_DEVICE bool any(bool x) const {
    return exchange(static_cast<int>(warp_group{}.any(x)), [](int a, int b) { return a | b; }) != 0;
  }
  /// Waits for the threads of the group; what they wrote before is seen by each other after it.
  POLYMOE_DEVICE static void sync() { device::sync_block(); }

 private:
  template <class S, class F>
  POLYMOE_DEVICE static S exchange(S x, F join) {
    static_assert(sizeof(S) * warps <= exchange_bytes, "polymoe: the exchange has 16 bytes per warp");
    S* slots = device::shared<S>();
    device::sync_block();  // everyone has read the exchange before
    if (device::lane() == 0) slots[device::warp()] = x;
    device::sync_block();
    S y = slots[0];
    for (int w = 1; w < warps; ++w) y = join(y, slots[w]);
    return y;
  }
};

}  // namespace polymoe
