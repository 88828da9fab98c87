// What a program that runs ahead of the GPU needs: pinned host memory, events, and work recorded once and replayed.
//
// As with device.cuh one source has two meanings: CUDA's events and graphs, or those of the host executor, which keeps
// real queues of work (tests/executor/host_streams.hpp), so that a buffer that is
// overwritten too early shows in a test.
#pragma once

#include <cstring>
#include <string>
#include <utility>

#include "../../core/arena.hpp"
#include "device.cuh"

namespace polymoe::inline v0 {
namespace device {

#if defined(__CUDACC__)

using event_handle = cudaEvent_t;
using graph_handle = cudaGraphExec_t;

/// Host memory that the GPU copies from and to by itself, filled with 0xFF bytes; null for 0 bytes.
inline void* allocate_pinned(std::size_t bytes) {
  void* p = nullptr;
  if (bytes == 0) return p;
  detail::check(cudaMallocHost(&p, bytes), "allocating ", bytes, " bytes of pinned memory");
  return std::memset(p, 0xFF, bytes);
}
inline void release_pinned(void* p) noexcept {
  if (p) cudaFreeHost(p);
}
/// Copies from (to) pinned memory in stream order and does not wait: the host's side is in use until an event recorded
/// behind it has happened.
inline void upload_async(void* to, const void* pinned, std::size_t bytes, stream_handle stream) {
  if (bytes > 0)
    detail::check(cudaMemcpyAsync(to, pinned, bytes, cudaMemcpyHostToDevice, stream), "uploading ", bytes, " bytes");
}
inline void download_async(void* pinned, const void* from, std::size_t bytes, stream_handle stream) {
  if (bytes > 0)
    detail::check(cudaMemcpyAsync(pinned, from, bytes, cudaMemcpyDeviceToHost, stream), "downloading ", bytes,
                  " bytes");
}

inline event_handle open_event() {
  event_handle e = nullptr;
  detail::check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "making an event");
  return e;
}
inline void close_event(event_handle e) noexcept { cudaEventDestroy(e); }
/// The event happens when everything in the stream so far is done.
inline void record_event(event_handle e, stream_handle stream) {
  detail::check(cudaEventRecord(e, stream), "recording an event");
}
/// The host waits for it; an event that was never recorded has happened.
inline void wait_event(event_handle e) { detail::check(cudaEventSynchronize(e), "waiting for an event"); }
/// What follows in the stream waits for it.
inline void hold_stream(stream_handle stream, event_handle e) {
  detail::check(cudaStreamWaitEvent(stream, e, 0), "making a stream wait for an event");
}

/// Between the two the stream's work is written down instead of done; no call may wait or allocate.
inline void begin_recording(stream_handle stream) {
  detail::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning the capture of a graph");
}
inline graph_handle end_recording(stream_handle stream) {
  cudaGraph_t work = nullptr;
  detail::check(cudaStreamEndCapture(stream, &work), "ending the capture of a graph");
  graph_handle g = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&g, work, 0);
  cudaGraphDestroy(work);
  detail::check(made, "making a graph ready to run");
  return g;
}
/// Leaves the recording after an error, without a word about it.
inline void drop_recording(stream_handle stream) noexcept {
  cudaGraph_t work = nullptr;
  if (cudaStreamEndCapture(stream, &work) == cudaSuccess && work) cudaGraphDestroy(work);
  cudaGetLastError();
}
inline void replay_recording(graph_handle g, stream_handle stream) {
  detail::check(cudaGraphLaunch(g, stream), "replaying a graph");
}
inline void close_recording(graph_handle g) noexcept { cudaGraphExecDestroy(g); }

/// Bytes of device memory that nobody has taken.
inline std::size_t free_memory() {
  std::size_t free = 0, all = 0;
  detail::check(cudaMemGetInfo(&free, &all), "asking for free device memory");
  return free;
}

/// Whether this program can run on a GPU here, and in words which one or what is missing.  Never throws.
struct availability {
  bool usable = false;
  std::string text;
};
inline availability find_gpu() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (status == cudaErrorInsufficientDriver) return {false, "no NVIDIA driver, or one older than this program's CUDA"};
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) return {false, "no GPU is visible"};
  if (status != cudaSuccess) return {false, std::string(cudaGetErrorName(status)) + ", " + cudaGetErrorString(status)};
  try {
    require_image();
    int device = 0;
    cudaDeviceProp found{};
    detail::check(cudaGetDevice(&device), "cudaGetDevice");
    detail::check(cudaGetDeviceProperties(&found, device), "properties of the GPU");
    return {true, found.name};
  } catch (const error& e) {
    return {false, e.what()};
  }
}

#endif  // __CUDACC__

/// An event of its own.
class event {
 public:
  event() : handle_(open_event()) {}
  ~event() { close_event(handle_); }
  event(const event&) = delete;
  event& operator=(const event&) = delete;
  void record(stream_handle stream) { record_event(handle_, stream); }
  void wait() const { wait_event(handle_); }
  void hold(stream_handle stream) const { hold_stream(stream, handle_); }

 private:
  event_handle handle_;
};

/// Waits where nothing may be thrown; an error shows at the next call.
template <class F>
void quietly(F wait_for) noexcept {
  try {
    wait_for();
  } catch (const error&) {
  }
}

/// A second stream, for copies beside the work of the first.  What it was given is done before it ends.
class side_stream {
 public:
  side_stream() : handle_(open_stream()) {}
  ~side_stream() {
    quietly([this] { wait(handle_); });
    close_stream(handle_);
  }
  side_stream(const side_stream&) = delete;
  side_stream& operator=(const side_stream&) = delete;
  stream_handle handle() const { return handle_; }

 private:
  stream_handle handle_;
};

/// Work that was written down once: a CUDA graph.
class recording {
 public:
  recording() = default;
  ~recording() { clear(); }
  recording(const recording&) = delete;
  recording& operator=(const recording&) = delete;
  bool empty() const { return !made_; }
  void clear() {
    if (made_) close_recording(std::exchange(handle_, graph_handle{}));
    made_ = false;
  }
  /// Writes down what `work()` puts into the stream; nothing of it runs.  Kernels have to be loaded: run the work once
  /// before.  When `work` throws, nothing is recorded.
  template <class F>
  void record(stream_handle stream, F&& work) {
    clear();
    begin_recording(stream);
    try {
      work();
    } catch (...) {
      drop_recording(stream);
      throw;
    }
    handle_ = end_recording(stream);
    made_ = true;
  }
  void replay(stream_handle stream) const {
    require(made_, "cuda: a recording is replayed before anything was recorded");
    replay_recording(handle_, stream);
  }

 private:
  graph_handle handle_{};
  bool made_ = false;
};

}  // namespace device

namespace backend {
struct pinned_memory {
  static void* allocate(std::size_t bytes) { return device::allocate_pinned(bytes); }
  static void release(void* p) { device::release_pinned(p); }
};
/// Pinned memory of the host.
using pinned_block = owned_block<pinned_memory>;
}  // namespace backend
}  // namespace polymoe
