// Random tensors on the GPU, and a comparison of two tensors.
#pragma once

#include <polymoe/backend/cuda/backend.cuh>

namespace gpu_bench {

namespace device = polymoe::device;
using polymoe::index;

namespace kernel {

POLYMOE_DEVICE inline index thread_number() {
  return device::block_rank() * device::block_size().volume() + device::thread_rank();
}
POLYMOE_DEVICE inline index thread_total() { return device::grid_size().volume() * device::block_size().volume(); }

template <class T>
POLYMOE_KERNEL void fill_normal(T* to, index n, polymoe::random_stream draw) {
  for (index i = thread_number(); i < n; i += thread_total())
    polymoe::store(to[i], draw.normal(static_cast<std::uint64_t>(i)));
}

template <class T>
POLYMOE_KERNEL void first_column(T* to, index rows, index stride, float value) {
  for (index i = thread_number(); i < rows; i += thread_total()) polymoe::store(to[i * stride], value);
}

/// counts[0] += words that differ, counts[1] += numbers of `a` that are not finite.
template <bool Float>
POLYMOE_KERNEL void compare(const std::uint32_t* a, const std::uint32_t* b, index n, unsigned long long* counts) {
  unsigned long long words = 0, bad = 0;
  for (index i = thread_number(); i < n; i += thread_total()) {
    words += a[i] != b[i];
    bad += (a[i] & 0x7f800000u) == 0x7f800000u;      // a float, or the upper bf16
    if (!Float) bad += (a[i] & 0x7f80u) == 0x7f80u;  // the lower bf16
  }
  if (words) device::atomic_add(counts, words);
  if (bad) device::atomic_add(counts + 1, bad);
}

}  // namespace kernel

/// Standard normal numbers; the rows of `to` are contiguous.
template <class T>
void fill_normal(device::stream_handle stream, polymoe::view<T> to, std::uint64_t seed, const char* name) {
  const auto draw = polymoe::random_root{seed}.stream(polymoe::stream_id(name), 0);
  device::launch({.kernel = "fill", .grid = 1024, .block = 256, .shared = 0, .stream = stream}, kernel::fill_normal<T>,
                 to.ptr[0], to.size(), draw);
}
template <class T>
void first_column(device::stream_handle stream, polymoe::view<T> to, float value) {
  device::launch({.kernel = "first column", .grid = 256, .block = 256, .shared = 0, .stream = stream},
                 kernel::first_column<T>, to.ptr[0], to.rows, to.stride, value);
}

struct differences {
  unsigned long long words = 0, not_finite = 0;
};
/// 32-bit words that differ, and numbers of `a` that are not finite (float, or two bf16 a word).  Waits.
inline differences compare(device::stream_handle stream, const void* a, const void* b, std::size_t bytes,
                           bool is_float) {
  polymoe::require(bytes % 4 == 0, "compare: ", bytes, " bytes are no whole words");
  unsigned long long host[2] = {};
  polymoe::backend::device_block counts(sizeof host);
  auto* on_device = static_cast<unsigned long long*>(counts.data());
  device::clear(on_device, sizeof host, stream);
  device::launch({.kernel = "compare", .grid = 1024, .block = 256, .shared = 0, .stream = stream},
                 is_float ? kernel::compare<true> : kernel::compare<false>, static_cast<const std::uint32_t*>(a),
                 static_cast<const std::uint32_t*>(b), static_cast<index>(bytes / 4), on_device);
  device::download(host, on_device, sizeof host, stream);
  return {host[0], host[1]};
}

}  // namespace gpu_bench
