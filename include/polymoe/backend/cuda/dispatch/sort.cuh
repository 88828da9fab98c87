// device::radix_sort(): the stable sort that ordered priorities need, as a pair of functions for route_forward_cuda.
//
// The only file of the router that includes CUB; it costs seconds to compile, so only translation units that launch a
// router with such a priority include it.  Sizes are known on the host, nothing is allocated or waited for, and the
// calls can be captured in a graph.  Without nvcc the host executor gets std::stable_sort, with the same contract.
#pragma once

#include "../kernel/route_args.cuh"

#if defined(__CUDACC__)
#include <cub/device/device_radix_sort.cuh>
#else
#include <numeric>
#include <vector>
#endif

namespace polymoe::inline v0::device {

namespace detail {
template <class Key>
std::size_t sort_bytes(int n, int bits) {
#if defined(__CUDACC__)
  std::size_t bytes = 0;
  check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, static_cast<const Key*>(nullptr), static_cast<Key*>(nullptr),
                                        static_cast<const int*>(nullptr), static_cast<int*>(nullptr), n, 0, bits),
        "asking a sort of ", n, " keys for its scratch");
  return bytes;
#else
  static_cast<void>(bits);
  return sizeof(int) * static_cast<std::size_t>(n);
#endif
}

template <class Key>
void sort_pairs(stream_handle stream, void* scratch, std::size_t bytes, const Key* keys, Key* keys_out, const int* ids,
                int* ids_out, int n, int bits) {
#if defined(__CUDACC__)
  check(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, keys_out, ids, ids_out, n, 0, bits, stream), "sorting ",
        n, " keys with ", bytes, " bytes of scratch");
#else
  const auto count = static_cast<std::size_t>(n);
  require(bytes >= sizeof(int) * count, "sorting ", n, " keys with ", bytes, " bytes of scratch");
  host_task(stream, [=] {
    // The scratch is written, so that memory which somebody else still needs is found here too.
    std::fill_n(static_cast<unsigned char*>(scratch), sizeof(int) * count, static_cast<unsigned char>(0xFF));
    const Key mask = bits >= static_cast<int>(8 * sizeof(Key)) ? static_cast<Key>(-1) : (Key{1} << bits) - 1;
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int x, int y) { return (keys[x] & mask) < (keys[y] & mask); });
    for (std::size_t i = 0; i < count; ++i) keys_out[i] = keys[order[i]], ids_out[i] = ids[order[i]];
  });
#endif
}
}  // namespace detail

/// A stable sort of 64-bit keys with 32-bit ids by the lowest `bits` bits of the keys; `scratch` is the caller's.
inline route_sort radix_sort() { return {detail::sort_bytes<std::uint64_t>, detail::sort_pairs<std::uint64_t>}; }

}  // namespace polymoe::device

namespace polymoe::inline v0 {
/// How layers find the sort, where this header is included and a policy needs it.
template <class Router, class Capacity>
route_sort sort_for(route_schedule<Router, Capacity>) {
  return device::radix_sort();
}
}  // namespace polymoe
