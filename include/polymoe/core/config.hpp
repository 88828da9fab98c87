// Version, host/device markers and the inline namespace of the library.
//
// Every public name lives in `namespace polymoe::inline v0`; the inline namespace keeps two versions of the headers
// apart when they meet in one program.  `POLYMOE_HD` marks a function that runs on the CPU and inside CUDA kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#define POLYMOE_VERSION_MAJOR 0
#define POLYMOE_VERSION_MINOR 1
#define POLYMOE_VERSION_PATCH 0
#define POLYMOE_VERSION (POLYMOE_VERSION_MAJOR * 10000 + POLYMOE_VERSION_MINOR * 100 + POLYMOE_VERSION_PATCH)

#if defined(__CUDACC__)
#define POLYMOE_HD __host__ __device__
#define POLYMOE_DEVICE __device__
// Hidden visibility: a weak host stub shared by two libraries could launch the kernel of the other one.
#define POLYMOE_KERNEL __attribute__((visibility("hidden"))) __global__
#else
#define POLYMOE_HD
#define POLYMOE_DEVICE
#define POLYMOE_KERNEL
#endif

#if defined(__GNUC__) || defined(__clang__)
#define POLYMOE_ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define POLYMOE_ALWAYS_INLINE inline
#endif

// Keeps one copy of a large function, where a copy per call would cost compile time and buy nothing.
#if defined(__GNUC__) || defined(__clang__)
#define POLYMOE_NOINLINE __attribute__((noinline))
#else
#define POLYMOE_NOINLINE
#endif

// A loop whose iterations are independent; the compiler may use vector instructions.
#if defined(_OPENMP) && !defined(__CUDA_ARCH__)
#define POLYMOE_PRAGMA(x) _Pragma(#x)
#define POLYMOE_SIMD POLYMOE_PRAGMA(omp simd)
// The same for a loop that sums into the given variables, or keeps the largest or smallest in one.
#define POLYMOE_SIMD_SUM(...) POLYMOE_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#define POLYMOE_SIMD_MAX(x) POLYMOE_PRAGMA(omp simd reduction(max : x))
#define POLYMOE_SIMD_MIN(x) POLYMOE_PRAGMA(omp simd reduction(min : x))
#else
#define POLYMOE_SIMD
#define POLYMOE_SIMD_SUM(...)
#define POLYMOE_SIMD_MAX(x)
#define POLYMOE_SIMD_MIN(x)
#endif

// A short loop to be unrolled n times; nvcc does not know the pragma.
#if defined(__GNUC__) && !defined(__CUDACC__)
#define POLYMOE_UNROLL_TEXT(x) _Pragma(#x)
#define POLYMOE_UNROLL_LOOP(n) POLYMOE_UNROLL_TEXT(GCC unroll n)
#else
#define POLYMOE_UNROLL_LOOP(n)
#endif

namespace polymoe::inline v0 {

/// Every count, size and offset of the library: 64 bits, so that T*K*H of a large batch never wraps.
using index = std::int64_t;

/// Largest number of experts a router row can hold.  A whole program may define POLYMOE_MAX_EXPERTS as 8: routers of
/// the CPU are then compiled for one length of rows instead of three (six in float), and larger layers are refused.
#if defined(POLYMOE_MAX_EXPERTS)
inline constexpr int max_experts = POLYMOE_MAX_EXPERTS;
static_assert(max_experts >= 1 && max_experts <= 1024, "polymoe: POLYMOE_MAX_EXPERTS must lie in 1..1024");
#else
inline constexpr int max_experts = 1024;
#endif

/// P::name, or "custom" for a policy that did not name itself: what describe() prints.
template <class P>
constexpr const char* policy_name() {
  if constexpr (requires { P::name; })
    return P::name;
  else
    return "custom";
}

/// Rounds `n` up to a multiple of `m` (m > 0).
POLYMOE_HD constexpr index round_up(index n, index m) { return (n + m - 1) / m * m; }
/// Smallest integer not below n/m (n >= 0, m > 0).
POLYMOE_HD constexpr index ceil_div(index n, index m) { return (n + m - 1) / m; }

}  // namespace polymoe
