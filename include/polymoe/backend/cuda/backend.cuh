// The CUDA backend's tag, its stream, and the memory it owns for programs that do not want to place memory themselves.
//
// Run paths never allocate, never wait and never read counts: everything here that does is for construction and for
// looking at results.
#pragma once

#include "../../core/context.hpp"
#include "device.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// Memory of the device, aligned to 256 bytes.
struct device_memory {
  static void* allocate(std::size_t bytes) { return device::allocate(bytes); }
  static void release(void* p) { device::release(p); }
};
using device_block = owned_block<device_memory>;

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
