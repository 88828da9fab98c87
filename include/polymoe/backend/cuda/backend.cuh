// The CUDA backend's tag, its stream, and the memory it owns for programs that do not want to place memory themselves.
//
// Run paths never allocate, never wait and never read counts: everything here that does is for construction and for
// looking at results.
#pragma once

#include "../../core/context.hpp"
#include "device.cuh"

namespace polymoe::inline v0 {
namespace grouped {
template <class T>
struct rows_of;
}
namespace backend {

/// Memory of the device, aligned to 256 bytes.
struct device_memory {
  static constexpr bool on_host = false;
  static void* allocate(std::size_t bytes) { return device::allocate(bytes); }
  static void release(void* p) { device::release(p); }
  /// Copies in the order of the stream; both wait until the host's side may be used again.
  template <class Stream>
  static void write(const Stream& s, void* to, const void* from, std::size_t bytes) {
    device::upload(to, from, bytes, s.handle);
  }
  template <class Stream>
  static void read(const Stream& s, void* to, const void* from, std::size_t bytes) {
    device::download(to, from, bytes, s.handle);
  }
  template <class Stream>
  static void zero(const Stream& s, void* p, std::size_t bytes) {
    device::clear(p, bytes, s.handle);
  }
};
using device_block = owned_block<device_memory>;

struct grouped_work;
template <class T>
struct slot_matrices;

/// NVIDIA GPUs.
struct cuda_device {
  static constexpr const char* name = "cuda";
  using memory = device_memory;
  using expert_work = grouped_work;
  template <class T>
  using expert_input = grouped::rows_of<T>;  ///< rows that experts read, through the plan
  static constexpr bool gathers = false;
  template <class T>
  static constexpr bool computes = !is_dual<T>;
  static constexpr bool column_routers = true;  ///< routers with phases over a group (core/block.hpp)
  static constexpr bool balanced_routers = true;  ///< learned thresholds, balanced assignment
  static constexpr bool carries_prices = true;  ///< group plans that begin where the last step ended
  static constexpr bool keeps_plans = false;  ///< group plans are made for choices and gates alone
  static constexpr bool slot_routers = true;  ///< routers that mix units into slots (Soft MoE)
  template <class T>
  using slot_plan = slot_matrices<T>;  ///< the plan they make
  static constexpr bool convolves = true;  ///< whether it has convolutions

  /// What launches need, passed by value.
  struct stream {
    device::stream_handle handle = nullptr;
    int blocks = 132;              ///< size of a persistent grid
    device::grid_barrier barrier{};///< zeroed words for grid-wide barriers; null: no cooperative launches
  };

  /// Owns what a stream needs: the stream itself and the words of its barrier.
  class runtime {
   public:
    runtime() = default;
    /// The arguments are the CPU's; a GPU has other workers.
    runtime(int /*threads*/, std::size_t /*worker_bytes*/) : words_(2 * sizeof(unsigned)) {
      device::require_image();
      stream_.handle = device::open_stream();
      stream_.blocks = device::multiprocessors();
      stream_.barrier.words = static_cast<unsigned*>(words_.data());
      device::clear(words_.data(), words_.size(), stream_.handle);
    }
    ~runtime() {
      if (words_.size() > 0) device::close_stream(stream_.handle);
    }
    runtime(runtime&& o) noexcept { *this = std::move(o); }
    runtime& operator=(runtime&& o) noexcept {
      std::swap(words_, o.words_), std::swap(stream_, o.stream_);
      return *this;
    }
    const stream& get() const { return stream_; }

   private:
    device_block words_;
    stream stream_;
  };
};

}  // namespace backend

/// The CUDA backend.
using cuda = backend::cuda_device;

}  // namespace polymoe
