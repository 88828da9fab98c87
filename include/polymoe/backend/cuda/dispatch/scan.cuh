// device::exclusive_scan(): where lists begin, from how long they are.
//
// Includes CUB, so only translation units that need it include this file.  The number of lists is known on the host,
// nothing is allocated or waited for, and the call can be captured in a graph.  Without nvcc the host executor gets
// std::exclusive_scan, with the same contract.
#pragma once

#include "../device.cuh"

#if defined(__CUDACC__)
#include <cub/device/device_scan.cuh>
#else
#include <cstring>
#include <numeric>
#endif

namespace polymoe::inline v0::device {

/// Bytes of scratch for n numbers.
inline std::size_t exclusive_scan_bytes(int n) {
#if defined(__CUDACC__)
  std::size_t bytes = 0;
  detail::check(
      cub::DeviceScan::ExclusiveSum(nullptr, bytes, static_cast<const int*>(nullptr), static_cast<int*>(nullptr), n),
      "asking a scan of ", n, " numbers for its scratch");
  return bytes;
#else
  return sizeof(int) * static_cast<std::size_t>(n);
#endif
}

/// to[i] = from[0] + ... + from[i - 1] for i < n; whole numbers, so the order of additions changes nothing.
inline void exclusive_scan(stream_handle stream, void* scratch, std::size_t bytes, const int* from, int* to, int n) {
#if defined(__CUDACC__)
  detail::check(cub::DeviceScan::ExclusiveSum(scratch, bytes, from, to, n, stream), "scanning ", n, " numbers with ",
                bytes, " bytes of scratch");
#else
  const auto need = sizeof(int) * static_cast<std::size_t>(n);
  require(bytes >= need, "scanning ", n, " numbers with ", bytes, " bytes of scratch");
  host_task(stream, [=] {
    // The scratch is written, so that memory which somebody else still needs is found here too.
    if (need > 0) std::memset(scratch, 0xFF, need);
    std::exclusive_scan(from, from + n, to, 0);
  });
#endif
}

}  // namespace polymoe::device
