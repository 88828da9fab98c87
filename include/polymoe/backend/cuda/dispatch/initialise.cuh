// first_values_on_device(): parameters get their first values where they lie, with the bits the CPU gives them.
//
// Without it a workspace draws them on one core of the host and copies them: seconds for a hundred million parameters.
// Thrust costs more than ten seconds of compile time, so no umbrella includes this file; a program that wants it does,
// and says so where it makes its workspace:
//
//   workspace<layer> w(layer({...}), {.max_rows = n, .seed = 1}, first_values_on_device<float>);
//
// Without nvcc the host executor gets a loop, with the same contract.
#pragma once

#include "../../../core/first_values.hpp"
#include "../backend.cuh"

#if defined(__CUDACC__)
#include <thrust/execution_policy.h>
#include <thrust/tabulate.h>
#endif

namespace polymoe::inline v0 {
namespace backend::detail {

/// An element as it is stored.
template <class M>
struct stored_first_value {
  first_value value;
  POLYMOE_HD M operator()(index i) const { return static_cast<M>(value(static_cast<std::uint64_t>(i))); }
};

#if defined(__CUDACC__)
/// What Thrust would take temporary memory from: none is needed here, and none is given.
struct no_memory {
  using value_type = char;
  char* allocate(std::ptrdiff_t bytes) {
    v0::detail::fail("first values: Thrust asked for ", bytes, " bytes of memory");
    return nullptr;
  }
  void deallocate(char*, std::size_t) {}
};
#endif

/// to[i] = f(i) for i < n, in stream order; nothing is waited for.
template <class M, class F>
void tabulate(device::stream_handle stream, M* to, index n, F f) {
#if defined(__CUDACC__)
  no_memory none;
  try {
    thrust::tabulate(thrust::cuda::par_nosync(none).on(stream), to, to + n, f);
  } catch (const error&) {
    throw;
  } catch (const std::exception& e) {
    v0::detail::fail("first values: ", n, " elements: ", e.what());
  }
#else
  device::host_task(stream, [=] {
    for (index i = 0; i < n; ++i) to[i] = f(i);
  });
#endif
}

}  // namespace backend::detail

/// One launch per tensor; those whose rows are orthogonal to each other are made by the host and copied.  What lies
/// between tensors is not touched.
template <class M>
void first_values_on_device(const backend::cuda_device::stream& s, const std::vector<param_entry>& entries,
                            view<M> values, std::uint64_t seed) {
  static_assert(std::is_same_v<M, float> || std::is_same_v<M, double>,
                "polymoe: parameters on CUDA are float or double");
  for (const param_entry& e : entries) {
    require(e.offset >= 0 && e.size >= 0 && e.offset + e.size <= values.cols, "first values: '", e.name, "' is [",
            e.offset, ", +", e.size, ") of ", values.cols, " parameters");
    if (e.size == 0) continue;
    if (e.init.how == init_rule::kind::orthogonal) {
      const std::vector<double> whole = orthogonal_values(e, seed);
      const std::vector<M> stored(whole.begin(), whole.end());
      backend::cuda_device::memory::write(s, values.ptr[0] + e.offset, stored.data(), stored.size() * sizeof(M));
    } else {
      backend::detail::tabulate(s.handle, values.ptr[0] + e.offset, e.size,
                                backend::detail::stored_first_value<M>{first_value(e, seed)});
    }
  }
}

}  // namespace polymoe
