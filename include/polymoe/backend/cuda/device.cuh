// What a kernel may ask of the machine: thread positions, barriers, shuffles, votes, atomics, shared memory, launch.
//
// Kernels use these wrappers and no built-in names, so that one source has two meanings:
//   nvcc                      thin inline functions over the CUDA intrinsics
//   POLYMOE_HOST_EXECUTOR     the same functions on fibers of the CPU, for tests without a GPU
// Nothing here includes cooperative_groups.h: it costs seconds per translation unit, and what is needed from it, a
// barrier of the whole grid, is short.  Kernels are templates, so that headers may hold them.
#pragma once

#include <type_traits>
#include <utility>

#include "../../core/error.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include <cstring>
#include <tuple>
#define POLYMOE_LAUNCH_BOUNDS(...) __launch_bounds__(__VA_ARGS__)
// A const kernel parameter whose address may be taken without a copy of it on every thread's stack.
#define POLYMOE_GRID_CONSTANT __grid_constant__
#define POLYMOE_UNROLL _Pragma("unroll")
#define POLYMOE_UNROLL_PRAGMA(x) _Pragma(#x)
#define POLYMOE_UNROLL_BY(n) POLYMOE_UNROLL_PRAGMA(unroll n)  // n iterations at a time; 1: none
#else
#if !defined(POLYMOE_HOST_EXECUTOR)
#error "polymoe: .cuh headers need nvcc; without it include tests/executor/host_executor.hpp before them"
#endif
#define POLYMOE_LAUNCH_BOUNDS(...)
#define POLYMOE_GRID_CONSTANT
#define POLYMOE_UNROLL
#define POLYMOE_UNROLL_BY(n) static_assert((n) > 0, "polymoe: a loop is unrolled by one iteration at least");
#endif

namespace polymoe::inline v0::device {

inline constexpr int warp_size = 32;
/// The member mask of a whole warp; a block whose size is no multiple of 32 has a last warp that must not use it.
inline constexpr unsigned full_warp = 0xffffffffu;

/// A position or an extent in up to three dimensions.  Signed, so that it mixes with the library's sizes.
struct dim {
  int x = 1, y = 1, z = 1;
  POLYMOE_HD constexpr dim(int x_ = 1, int y_ = 1, int z_ = 1) : x(x_), y(y_), z(z_) {}
  POLYMOE_HD constexpr index volume() const { return index{x} * y * z; }
};

/// Two words of global memory behind sync_grid().  The caller zeroes them once; every launch leaves them ready for the
/// next one.  One pair serves one launch at a time.
struct grid_barrier {
  unsigned* words = nullptr;  ///< [0] blocks that have arrived, [1] barriers completed so far
};

#if defined(__CUDACC__)
using stream_handle = cudaStream_t;
#else
using stream_handle = void*;
#endif

/// Everything a launch needs besides the kernel and its arguments.
struct launch_shape {
  const char* kernel = "unnamed kernel";  ///< appears in error texts
  dim grid{};                             ///< blocks; a zero anywhere makes the launch do nothing
  dim block{};                            ///< threads of a block
  std::size_t shared = 0;                 ///< bytes of dynamic shared memory per block
  stream_handle stream = nullptr;
  bool cooperative = false;               ///< all blocks run at once; needed by sync_grid() and waits across blocks
};

namespace detail {
/// Limits that every device of compute capability 7.0 or later shares.
inline void check_shape(const launch_shape& s) {
  require(s.grid.x >= 0 && s.grid.y >= 0 && s.grid.z >= 0 && s.grid.y <= 65535 && s.grid.z <= 65535, s.kernel,
          ": grid ", s.grid.x, " x ", s.grid.y, " x ", s.grid.z, ", the limit is 2147483647 x 65535 x 65535");
  require(s.block.x >= 1 && s.block.y >= 1 && s.block.z >= 1 && s.block.z <= 64 && s.block.volume() <= 1024, s.kernel,
          ": block ", s.block.x, " x ", s.block.y, " x ", s.block.z, ", allowed are 1 to 1024 threads, 64 in z");
}
}  // namespace detail

#if defined(__CUDACC__)

// ---- positions ------------------------------------------------------------------------------------------------------

/// Position of this block in the grid.
__device__ inline dim block_index() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}
/// Threads of a block.
__device__ inline dim block_size() {
  return {static_cast<int>(blockDim.x), static_cast<int>(blockDim.y), static_cast<int>(blockDim.z)};
}
/// Blocks of the grid.
__device__ inline dim grid_size() {
  return {static_cast<int>(gridDim.x), static_cast<int>(gridDim.y), static_cast<int>(gridDim.z)};
}
/// Number of this thread in its block, x fastest.
__device__ inline int thread_rank() {
  return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}
/// Number of this block in the grid, x fastest.
__device__ inline index block_rank() {
  return blockIdx.x + index{gridDim.x} * (blockIdx.y + index{gridDim.y} * blockIdx.z);
}
/// Number of this thread in its warp, 0..31.
__device__ inline int lane() {
  int l;
  asm("mov.u32 %0, %%laneid;" : "=r"(l));
  return l;
}
/// Number of this warp in its block.
__device__ inline int warp() { return thread_rank() / warp_size; }

// ---- barriers and fences --------------------------------------------------------------------------------------------

/// Waits for every thread of the block; shared and global writes before it are seen by the block after it.
__device__ inline void sync_block() { __syncthreads(); }
/// Waits for the lanes in `members`; their writes before it are seen by each other after it.
__device__ inline void sync_warp(unsigned members = full_warp) { __syncwarp(members); }
/// Orders this thread's writes before it against those after it, for every thread of the device.
__device__ inline void fence() { __threadfence(); }

/// Reads a word so that what was written before the matching store_release() is seen afterwards.
__device__ inline unsigned load_acquire(const unsigned* word) {
  unsigned v;
  asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(v) : "l"(word) : "memory");
  return v;
}
/// Writes a word of global memory after everything this thread wrote before.
__device__ inline void store_release(unsigned* word, unsigned value) {
  asm volatile("st.release.gpu.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}
/// Waits until the word of global memory holds `value`.  The thread that writes it must be resident: a cooperative
/// launch, or a ticket order in which the writer has started before.
__device__ inline void wait_until(const unsigned* word, unsigned value) {
  while (load_acquire(word) != value) __nanosleep(32);
}

/// Waits for every thread of the grid (cooperative launches only).  Each block counts itself in; the last one clears
/// the count and then raises the generation the others watch, so the words need no clearing between uses.
__device__ inline void sync_grid(grid_barrier barrier) {
  __syncthreads();
  if (thread_rank() == 0) {
    // The generation is read before arriving: afterwards the last block may raise it at any moment.
    const unsigned generation = load_acquire(barrier.words + 1);
    __threadfence();
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    if (atomicAdd(barrier.words, 1u) == blocks - 1) {
      *const_cast<volatile unsigned*>(barrier.words) = 0;
      __threadfence();
      store_release(barrier.words + 1, generation + 1);
    } else {
      while (load_acquire(barrier.words + 1) == generation) __nanosleep(32);
    }
    __threadfence();
  }
  __syncthreads();
}

// ---- shuffles and votes ---------------------------------------------------------------------------------------------

namespace detail {
/// Applies a shuffle of 32-bit words to a value of any size; the copies are register moves.
template <class T, class F>
__device__ inline T by_words(const T& x, F shuffle) {
  static_assert(std::is_trivially_copyable_v<T>, "polymoe: only trivially copyable values can be shuffled");
  constexpr int count = (static_cast<int>(sizeof(T)) + 3) / 4;
  unsigned words[count] = {};
  memcpy(words, &x, sizeof(T));
  POLYMOE_UNROLL
  for (int i = 0; i < count; ++i) words[i] = shuffle(words[i]);
  T y;
  memcpy(&y, words, sizeof(T));
  return y;
}
}  // namespace detail

/// The value of lane `lane() ^ flip`.  Any trivially copyable T.  All shuffles: `width` (a power of two) cuts the
/// warp into segments as in CUDA, `members` names the lanes that take part, and a source outside returns the own value.
template <class T>
__device__ inline T shuffle_xor(T x, int flip, int width = warp_size, unsigned members = full_warp) {
  return detail::by_words(x, [=](unsigned w) { return __shfl_xor_sync(members, w, flip, width); });
}
/// The value of lane `lane() - delta`; the first `delta` lanes of a segment keep their own.
template <class T>
__device__ inline T shuffle_up(T x, int delta, int width = warp_size, unsigned members = full_warp) {
  return detail::by_words(
      x, [=](unsigned w) { return __shfl_up_sync(members, w, static_cast<unsigned>(delta), width); });
}
/// The value of lane `source` of the own segment.
template <class T>
__device__ inline T shuffle_idx(T x, int source, int width = warp_size, unsigned members = full_warp) {
  return detail::by_words(x, [=](unsigned w) { return __shfl_sync(members, w, source, width); });
}

/// Bit i is set when lane i is a member whose predicate holds.
__device__ inline unsigned ballot(bool predicate, unsigned members = full_warp) {
  return __ballot_sync(members, predicate);
}
/// The members that hold the same value as this lane (integers of 4 or 8 bytes).
template <class T>
__device__ inline unsigned match(T x, unsigned members = full_warp) {
  static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "polymoe: match compares integers of 4 or 8 bytes");
  if constexpr (sizeof(T) == 4) return __match_any_sync(members, static_cast<unsigned>(x));
  else return __match_any_sync(members, static_cast<unsigned long long>(x));
}

/// Number of set bits; position of the lowest set bit counted from 1, 0 when there is none.
__device__ inline int popcount(unsigned x) { return __popc(x); }
__device__ inline int find_first(unsigned x) { return __ffs(static_cast<int>(x)); }

// ---- copies to shared memory ----------------------------------------------------------------------------------------

/// Starts copying 16 bytes from global to shared memory, both aligned to 16: the first `bytes` (0 to 16) are read, the
/// rest are zeros.  Seen by this thread after copy_wait(), by the block after a barrier behind it.
__device__ inline void copy_async(void* to, const void* from, int bytes) {
  const auto target = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(bytes) : "memory");
}
/// Ends a group: the copies this thread started since the last one.
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until all but the last `Groups` groups of this thread have arrived.
template <int Groups>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
}

// ---- shared memory and atomics --------------------------------------------------------------------------------------

/// The block's dynamic shared memory from byte `offset` on; the start is aligned to 1024 bytes.  Uninitialised.
template <class T>
__device__ inline T* shared(std::size_t offset = 0) {
  extern __shared__ __align__(1024) unsigned char polymoe_shared_memory[];
  return reinterpret_cast<T*>(polymoe_shared_memory + offset);
}

namespace detail {
template <class T>
using atomic_word = std::conditional_t<sizeof(T) == 4, unsigned, unsigned long long>;
template <class T>
inline constexpr bool atomic_sized = sizeof(T) == 4 || sizeof(T) == 8;
template <class T>
using ordered_word = std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int, unsigned>,
                                        std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>>;
}  // namespace detail

/// Adds and returns the value before (integers, float, double).  The order of float additions is not fixed.
template <class T>
__device__ inline T atomic_add(T* p, std::type_identity_t<T> x) {
  static_assert(std::is_arithmetic_v<T> && detail::atomic_sized<T>, "polymoe: atomics work on numbers of 4 or 8 bytes");
  if constexpr (std::is_floating_point_v<T>) return atomicAdd(p, x);
  else {
    using word = detail::atomic_word<T>;
    return static_cast<T>(atomicAdd(reinterpret_cast<word*>(p), static_cast<word>(x)));
  }
}
/// Largest (smallest) of both, integers only; returns the value before.
template <class T>
__device__ inline T atomic_max(T* p, std::type_identity_t<T> x) {
  static_assert(std::is_integral_v<T> && detail::atomic_sized<T>,
                "polymoe: atomic_max works on integers of 4 or 8 bytes");
  using word = detail::ordered_word<T>;
  return static_cast<T>(atomicMax(reinterpret_cast<word*>(p), static_cast<word>(x)));
}
template <class T>
__device__ inline T atomic_min(T* p, std::type_identity_t<T> x) {
  static_assert(std::is_integral_v<T> && detail::atomic_sized<T>,
                "polymoe: atomic_min works on integers of 4 or 8 bytes");
  using word = detail::ordered_word<T>;
  return static_cast<T>(atomicMin(reinterpret_cast<word*>(p), static_cast<word>(x)));
}

// ---- host side ------------------------------------------------------------------------------------------------------

namespace detail {
template <class... Parts>
void check(cudaError_t status, const Parts&... parts) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a launch error is not sticky: the next call must not meet it again
  v0::detail::fail(parts..., ": ", cudaGetErrorName(status), ", ", cudaGetErrorString(status));
}

template <std::size_t... I, class... Params>
void launch_values(const launch_shape& s, void (*kernel)(Params...), std::tuple<std::remove_cv_t<Params>...>& values,
                   std::index_sequence<I...>) {
  void* pointers[sizeof...(Params) + 1] = {const_cast<void*>(static_cast<const void*>(&std::get<I>(values)))...};
  const void* entry = reinterpret_cast<const void*>(kernel);
  const auto cuda_dim = [](dim d) {
    return dim3(static_cast<unsigned>(d.x), static_cast<unsigned>(d.y), static_cast<unsigned>(d.z));
  };
  // More than 48 KiB of shared memory has to be asked for, kernel by kernel.
  if (s.shared > 48 * 1024)
    check(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(s.shared)),
          s.kernel, ": ", s.shared, " bytes of shared memory were refused");
  check(s.cooperative
            ? cudaLaunchCooperativeKernel(entry, cuda_dim(s.grid), cuda_dim(s.block), pointers, s.shared, s.stream)
            : cudaLaunchKernel(entry, cuda_dim(s.grid), cuda_dim(s.block), pointers, s.shared, s.stream),
        s.kernel, ": ", s.cooperative ? "cooperative launch" : "launch", " of grid ", s.grid.x, " x ", s.grid.y, " x ",
        s.grid.z, ", block ", s.block.x, " x ", s.block.y, " x ", s.block.z, ", ", s.shared, " bytes of shared memory");
}
}  // namespace detail

/// Starts `kernel` on shape.stream with the arguments converted to its parameter types; does not wait.  Throws
/// polymoe::error with the kernel's name and shape when CUDA refuses the launch.
template <class... Params, class... Args>
void launch(const launch_shape& shape, void (*kernel)(Params...), Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args),
                "polymoe: launch got another number of arguments than the kernel has parameters");
  static_assert((std::is_trivially_copyable_v<Params> && ...),
                "polymoe: kernel parameters are copied as bytes and have to be trivially copyable");
  detail::check_shape(shape);
  if (shape.grid.volume() == 0) return;
  std::tuple<std::remove_cv_t<Params>...> values(static_cast<Params>(std::forward<Args>(args))...);
  detail::launch_values(shape, kernel, values, std::index_sequence_for<Params...>{});
}

/// Largest dynamic shared memory of a block of the current device, in bytes.
inline std::size_t shared_limit() {
  int device = 0, bytes = 0;
  detail::check(cudaGetDevice(&device), "cudaGetDevice");
  detail::check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
                "shared memory of a block");
  return static_cast<std::size_t>(bytes);
}
/// Shared memory of a multiprocessor of the current device; every resident block takes 1 KiB beside its own.
inline std::size_t shared_of_multiprocessor() {
  int device = 0, bytes = 0;
  detail::check(cudaGetDevice(&device), "cudaGetDevice");
  detail::check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device),
                "shared memory of a multiprocessor");
  return static_cast<std::size_t>(bytes);
}
/// Multiprocessors of the current device: the natural size of a persistent grid.
inline int multiprocessors() {
  int device = 0, count = 0;
  detail::check(cudaGetDevice(&device), "cudaGetDevice");
  detail::check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "multiprocessor count");
  return count;
}
/// Largest grid of a cooperative launch of `kernel`; 0 where the device has no such launches.  For use at bind: it asks
/// the driver.
template <class... Params>
int max_cooperative_blocks(void (*kernel)(Params...), int threads, std::size_t shared_bytes) {
  int device = 0, each = 0;
  detail::check(cudaGetDevice(&device), "cudaGetDevice");
  detail::check(cudaDeviceGetAttribute(&each, cudaDevAttrCooperativeLaunch, device), "cooperative launches");
  if (each == 0) return 0;
  const void* entry = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > 48 * 1024)
    detail::check(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(shared_bytes)),
                  shared_bytes, " bytes of shared memory were refused");
  detail::check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, entry, threads, shared_bytes), "occupancy");
  return each * multiprocessors();
}

namespace detail {
template <int>
__global__ void image_probe() {}
}  // namespace detail
/// Throws when this program holds no code for the current device: better here than in the first launch.
inline void require_image() {
  int device = 0, major = 0, minor = 0;
  detail::check(cudaGetDevice(&device), "cudaGetDevice");
  detail::check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "compute capability");
  detail::check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "compute capability");
  require(major >= 8, "cuda: the GPU has compute capability ", major, ".", minor, ", the kernels need 8.0 or later");
  cudaFuncAttributes found;
  const char* letter = major == 9 ? "a" : "";
  detail::check(cudaFuncGetAttributes(&found, reinterpret_cast<const void*>(detail::image_probe<0>)),
                "cuda: this program holds no code for a GPU of compute capability ", major, ".", minor,
                "; compile with -gencode=arch=compute_", major, minor, letter, ",code=sm_", major, minor, letter);
}

namespace detail {
/// False: memory stays as the driver gives it.  For compute-sanitizer's initcheck, to which filled memory is written.
inline bool fill_new_memory = true;
}  // namespace detail

/// Device memory filled with 0xFF bytes, so that reads of what nobody wrote are seen; null for 0 bytes.  Waits.
inline void* allocate(std::size_t bytes) {
  void* p = nullptr;
  if (bytes == 0) return p;
  detail::check(cudaMalloc(&p, bytes), "allocating ", bytes, " bytes of device memory");
  if (!detail::fill_new_memory) return p;
  detail::check(cudaMemset(p, 0xFF, bytes), "filling ", bytes, " bytes");
  // The call may return earlier, and streams of ours do not wait for the default one.
  detail::check(cudaStreamSynchronize(nullptr), "filling ", bytes, " bytes");
  return p;
}
inline void release(void* p) noexcept {
  if (p) cudaFree(p);
}
/// Copies host memory to device memory in stream order; `from` may be reused when it returns.
inline void upload(void* to, const void* from, std::size_t bytes, stream_handle stream) {
  if (bytes == 0) return;
  detail::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "uploading ", bytes, " bytes");
  detail::check(cudaStreamSynchronize(stream), "uploading ", bytes, " bytes");
}
/// Copies device memory to host memory and waits for it.
inline void download(void* to, const void* from, std::size_t bytes, stream_handle stream) {
  if (bytes == 0) return;
  detail::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "downloading ", bytes, " bytes");
  detail::check(cudaStreamSynchronize(stream), "downloading ", bytes, " bytes");
}
/// A stream of its own, which does not wait for the default stream.
inline stream_handle open_stream() {
  stream_handle s = nullptr;
  detail::check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "making a stream");
  return s;
}
inline void close_stream(stream_handle s) noexcept { cudaStreamDestroy(s); }
/// Waits for everything in the stream; errors of earlier kernels surface here.
inline void wait(stream_handle stream) { detail::check(cudaStreamSynchronize(stream), "waiting for the stream"); }

/// Writes zeros to device memory, in stream order.
inline void clear(void* p, std::size_t bytes, stream_handle stream) {
  if (bytes > 0) detail::check(cudaMemsetAsync(p, 0, bytes, stream), "clearing ", bytes, " bytes");
}
/// Copies device memory to device memory, in stream order.
inline void copy(void* to, const void* from, std::size_t bytes, stream_handle stream) {
  if (bytes > 0)
    detail::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copying ", bytes, " bytes");
}

#endif  // __CUDACC__

}  // namespace polymoe::device
