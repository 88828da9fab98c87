// backend::segment_squares(): sums of squares of every tensor of a model in one launch, for analysis/tensor_norms.hpp.
//
// Includes CUB, so only translation units that need it include this file.  CUB gives each segment one block, whose
// order of additions does not change from run to run.  It allocates and waits: a figure to look at, no part of a step.
// Without nvcc the host executor gets a loop, with the same contract.
#pragma once

#include <vector>

#include "../../../core/param.hpp"
#include "../backend.cuh"

#if defined(__CUDACC__)
#include <cub/device/device_segmented_reduce.cuh>
#include <thrust/iterator/transform_iterator.h>
#endif

namespace polymoe::inline v0::backend {

namespace detail {
template <class M>
struct square_in_double {
  POLYMOE_HD double operator()(M x) const { return double(x) * double(x); }
};

/// to[i] = sum of values[begin[i] .. end[i])^2 for i < n; everything in device memory.  With no scratch: says in
/// `bytes` how much it wants.
template <class M>
void sum_segments(device::stream_handle stream, void* scratch, std::size_t& bytes, const M* values, double* to,
                  std::int64_t n, const std::int64_t* begin, const std::int64_t* end) {
#if defined(__CUDACC__)
  const auto squares = thrust::make_transform_iterator(values, square_in_double<M>{});
  device::detail::check(cub::DeviceSegmentedReduce::Sum(scratch, bytes, squares, to, n, begin, end, stream), "summing ",
                        n, " segments with ", bytes, " bytes of scratch");
#else
  if (!scratch) {
    bytes = sizeof(double);
    return;
  }
  device::host_task(stream, [=] {
    for (std::int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::int64_t k = begin[i]; k < end[i]; ++k) sum += square_in_double<M>{}(values[k]);
      to[i] = sum;
    }
  });
#endif
}
}  // namespace detail

/// As on the CPU (analysis/tensor_norms.hpp); `values` lies in device memory.
template <class M>
std::vector<double> segment_squares(const context<cuda_device>& c, const M* values,
                                    const std::vector<param_entry>& entries) {
  const std::size_t n = entries.size();
  std::vector<double> sums(n);
  if (n == 0) return sums;
  std::vector<std::int64_t> borders(2 * n);
  for (std::size_t i = 0; i < n; ++i)
    borders[i] = entries[i].offset, borders[n + i] = entries[i].offset + entries[i].size;
  const device::stream_handle stream = c.stream.handle;
  device_block there(2 * n * sizeof(std::int64_t)), to(n * sizeof(double));
  device::upload(there.data(), borders.data(), 2 * n * sizeof(std::int64_t), stream);
  const auto* begin = static_cast<const std::int64_t*>(there.data());
  auto* out = static_cast<double*>(to.data());
  std::size_t bytes = 0;
  const auto count = static_cast<std::int64_t>(n);
  detail::sum_segments(stream, nullptr, bytes, values, out, count, begin, begin + n);
  device_block scratch(bytes);
  detail::sum_segments(stream, scratch.data(), bytes, values, out, count, begin, begin + n);
  device::download(sums.data(), out, n * sizeof(double), stream);
  return sums;
}

}  // namespace polymoe::backend
