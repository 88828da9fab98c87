// The CUDA backend's tag, its stream, and the memory it owns for programs that do not want to place memory themselves.
//
// Run paths never allocate, never wait and never read counts: everything here that does is for construction and for
// looking at results.
#pragma once

#include "../../core/context.hpp"
#include "device.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// Device memory, 256-byte aligned, first filled with 0xFF (NaN in every float format), as aligned_block is.
class device_block {
 public:
  device_block() = default;
  explicit device_block(std::size_t bytes) : data_(device::allocate(bytes)), bytes_(bytes) {}
  ~device_block() { device::release(data_); }
  device_block(device_block&& o) noexcept : data_(o.data_), bytes_(o.bytes_) { o.data_ = nullptr, o.bytes_ = 0; }
  device_block& operator=(device_block&& o) noexcept {
    std::swap(data_, o.data_), std::swap(bytes_, o.bytes_);
    return *this;
  }
  void* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  arena as_arena() const { return {data_, bytes_}; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// NVIDIA GPUs.
struct cuda_device {
  static constexpr const char* name = "cuda";
  using block = device_block;

  /// What launches need; made once by `open`, passed by value after.
  struct stream {
    device::stream_handle handle = nullptr;
    int blocks = 132;              ///< size of a persistent grid
    device::grid_barrier barrier{};///< zeroed words for grid-wide barriers; null: no cooperative launches
  };
};

}  // namespace backend

/// The CUDA backend.
using cuda = backend::cuda_device;

}  // namespace polymoe
