// What this GPU does at best, measured: the rates of a large bf16 product, of multiply-adds in float, of a large copy
// and of one within L2.
#pragma once

#include <cublasLt.h>

#include "data.cuh"
#include "timing.cuh"

namespace gpu_bench {

inline void must(cublasStatus_t status, const char* what) {
  polymoe::require(status == CUBLAS_STATUS_SUCCESS, what, ": cuBLASLt status ", static_cast<int>(status));
}

/// FLOP per second of C = A^T B, bf16 with fp32 sums, n^3, on standard normal numbers (zeros take less power and run
/// faster): the fastest of the library's eight best guesses, each the median of several batches.
inline double product_rate(cudaStream_t stream, int n = 8192) {
  using polymoe::bf16;
  const auto elements = static_cast<std::size_t>(n) * static_cast<std::size_t>(n);
  constexpr std::size_t workspace_bytes = std::size_t{64} << 20;
  polymoe::backend::device_block a(elements * 2), b(elements * 2), c(elements * 2), workspace(workspace_bytes);
  fill_normal(stream, polymoe::view<bf16>(static_cast<bf16*>(a.data()), n, n), 1, "a");
  fill_normal(stream, polymoe::view<bf16>(static_cast<bf16*>(b.data()), n, n), 1, "b");

  cublasLtHandle_t handle{};
  cublasLtMatmulDesc_t product{};
  cublasLtMatrixLayout_t square{};
  cublasLtMatmulPreference_t wish{};
  must(cublasLtCreate(&handle), "cublasLtCreate");
  must(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description of a product");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  must(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
       "transposition");
  must(
      cublasLtMatrixLayoutCreate(&square, CUDA_R_16BF, static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(n), n),
      "layout of a matrix");
  must(cublasLtMatmulPreferenceCreate(&wish), "preference");
  must(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                            sizeof workspace_bytes),
       "workspace");
  cublasLtMatmulHeuristicResult_t found[8];
  int count = 0;
  must(cublasLtMatmulAlgoGetHeuristic(handle, product, square, square, square, square, wish, 8, found, &count),
       "choice of an algorithm");
  polymoe::require(count > 0, "cuBLASLt knows no bf16 product of ", n, "^3 on this GPU");

  const float one = 1, zero = 0;
  stopwatch watch;
  double least = 0;
  for (int i = 0; i < count; ++i) {
    const auto run = [&](int times) {
      for (int t = 0; t < times; ++t)
        must(cublasLtMatmul(handle, product, &one, a.data(), square, b.data(), square, &zero, c.data(), square,
                            c.data(), square, &found[i].algo, workspace.data(), workspace_bytes, stream),
             "product");
    };
    run(3);
    std::vector<double> us;
    for (int batch = 0; batch < 7; ++batch) us.push_back(watch(stream, [&] { run(5); }) / 5);
    const double m = median(us);
    if (i == 0 || m < least) least = m;
  }
  cublasLtMatmulPreferenceDestroy(wish);
  cublasLtMatrixLayoutDestroy(square);
  cublasLtMatmulDescDestroy(product);
  cublasLtDestroy(handle);
  return 2.0 * n * n * n / (1e-6 * least);
}

namespace kernel {
/// to = from; each thread has four accesses of 16 bytes in flight.
template <class V>
POLYMOE_KERNEL void copy(V* to, const V* from, index n) {
  constexpr int flight = 4;
  const index step = thread_total();
  index i = thread_number();
  for (; i + (flight - 1) * step < n; i += flight * step) {
    V v[flight];
    POLYMOE_UNROLL
    for (int j = 0; j < flight; ++j) v[j] = from[i + j * step];
    POLYMOE_UNROLL
    for (int j = 0; j < flight; ++j) to[i + j * step] = v[j];
  }
  for (; i < n; i += step) to[i] = from[i];
}
/// The same, `rounds` times, past the first level of caches.
POLYMOE_KERNEL void copy_again(uint4* to, const uint4* from, index n, int rounds) {
  const index step = thread_total();
  for (int round = 0; round < rounds; ++round)
    for (index i = thread_number(); i < n; i += step) to[i] = __ldcg(from + i);
}
/// `rounds` times eight multiply-adds that wait for none of each other.
POLYMOE_KERNEL void multiply_add(float* out, float by, int rounds) {
  constexpr int chains = 8;
  float x[chains];
  for (int j = 0; j < chains; ++j) x[j] = static_cast<float>(thread_number() + j);
  for (int round = 0; round < rounds; ++round) {
    POLYMOE_UNROLL
    for (int j = 0; j < chains; ++j) x[j] = fmaf(x[j], by, 1.0f);
  }
  float sum = 0;
  for (int j = 0; j < chains; ++j) sum += x[j];
  out[thread_number()] = sum;
}
}  // namespace kernel

/// Bytes per second, read and written, of copies of 256 MiB within the GPU's memory.
inline void copy_rates(cudaStream_t stream, ceilings& top) {
  constexpr std::size_t bytes = std::size_t{256} << 20;
  constexpr int calls = 10, batches = 15;
  polymoe::backend::device_block from(bytes), to(bytes);
  fill_normal(stream, polymoe::view<float>(static_cast<float*>(from.data()), 1, static_cast<index>(bytes / 4)), 1,
              "copy");
  const int blocks = polymoe::device::multiprocessors() * 8;
  const auto by_api = [&] {
    for (int i = 0; i < calls; ++i) polymoe::device::copy(to.data(), from.data(), bytes, stream);
  };
  const auto by_kernel = [&] {
    for (int i = 0; i < calls; ++i)
      polymoe::device::launch({.kernel = "copy", .grid = blocks, .block = 256, .stream = stream}, kernel::copy<uint4>,
                              static_cast<uint4*>(to.data()), static_cast<const uint4*>(from.data()),
                              static_cast<index>(bytes / sizeof(uint4)));
  };
  stopwatch watch;
  by_api(), by_kernel();
  std::vector<double> api, kernel;
  for (int i = 0; i < batches; ++i) api.push_back(watch(stream, by_api)), kernel.push_back(watch(stream, by_kernel));
  const auto rate = [&](const std::vector<double>& us) { return 2.0 * bytes * calls / (1e-6 * median(us)); };
  top.copy_api = rate(api), top.copy_kernel = rate(kernel);
  const differences d = compare(stream, to.data(), from.data(), bytes, true);
  polymoe::require(d.words == 0, "the copy that was timed is wrong in ", d.words, " words");
}

/// Bytes per second, read and written, of copies of 8 MiB from L2 to L2.
inline double cached_copy_rate(cudaStream_t stream) {
  constexpr std::size_t bytes = std::size_t{8} << 20;
  constexpr int rounds = 100, batches = 15;
  polymoe::backend::device_block from(bytes), to(bytes);
  fill_normal(stream, polymoe::view<float>(static_cast<float*>(from.data()), 1, static_cast<index>(bytes / 4)), 1,
              "cached copy");
  const auto run = [&] {
    polymoe::device::launch(
        {.kernel = "copy_again", .grid = polymoe::device::multiprocessors() * 8, .block = 256, .stream = stream},
        kernel::copy_again, static_cast<uint4*>(to.data()), static_cast<const uint4*>(from.data()),
        static_cast<index>(bytes / sizeof(uint4)), rounds);
  };
  stopwatch watch;
  run();
  std::vector<double> us;
  for (int i = 0; i < batches; ++i) us.push_back(watch(stream, run));
  const differences d = compare(stream, to.data(), from.data(), bytes, true);
  polymoe::require(d.words == 0, "the copy within L2 that was timed is wrong in ", d.words, " words");
  return 2.0 * bytes * rounds / (1e-6 * median(us));
}

/// FLOP per second of multiply-adds in float.
inline double scalar_rate(cudaStream_t stream) {
  constexpr int rounds = 20000, threads = 256, batches = 15;
  const int blocks = polymoe::device::multiprocessors() * 8;
  const double total = static_cast<double>(blocks) * threads;
  polymoe::backend::device_block out(static_cast<std::size_t>(blocks) * threads * sizeof(float));
  const auto run = [&] {
    polymoe::device::launch({.kernel = "multiply_add", .grid = blocks, .block = threads, .stream = stream},
                            kernel::multiply_add, static_cast<float*>(out.data()), 0.999f, rounds);
  };
  stopwatch watch;
  run();
  std::vector<double> us;
  for (int i = 0; i < batches; ++i) us.push_back(watch(stream, run));
  return 2.0 * 8 * rounds * total / (1e-6 * median(us));
}

inline ceilings measure_ceilings(cudaStream_t stream) {
  ceilings top;
  copy_rates(stream, top);
  top.copy_cached = cached_copy_rate(stream), top.scalar_flops = scalar_rate(stream);
  top.flops = product_rate(stream);
  return top;
}

}  // namespace gpu_bench
