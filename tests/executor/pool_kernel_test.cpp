// Positions, class tokens, pooling and patches of the CUDA backend, run by the host executor and in tests/gpu on a GPU,
// against the CPU backend.
// with: nn
#if !defined(__CUDACC__)
#include "host_executor.hpp"
#endif

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/dispatch/pool.cuh>
#include <polymoe/nn/pool.hpp>
#include <polymoe/nn/positions.hpp>

#include "device_module.hpp"
#include "helpers.hpp"

namespace {
using namespace polymoe::executor_test;
using polymoe::bf16;
using polymoe::cpu;
using polymoe::cuda;
using polymoe::index;
using polymoe::view;
namespace backend = polymoe::backend;
namespace nn = polymoe::nn;

template <class T>
constexpr double bound() {
  return std::is_same_v<T, double> ? 1e-13 : (std::is_same_v<T, float> ? 1e-6 : 3e-3);
}

template <class T>
void check_positions(index dim, index tokens, bool class_token, index images) {
  CAPTURE(dim);
  CAPTURE(tokens);
  CAPTURE(class_token);
  CAPTURE(images);
  compare_module_twice<nn::positions<T, cuda>, nn::positions<T, cpu>>(
      {dim, tokens, class_token}, {dim, tokens, class_token}, 7 * tokens, images * tokens, bound<T>());
}
template <class T>
void check_pool(index dim, index tokens, nn::pool_kind kind, index images) {
  CAPTURE(dim);
  CAPTURE(tokens);
  CAPTURE(images);
  compare_module_twice<nn::pool<T, cuda>, nn::pool<T, cpu>>({dim, tokens, kind}, {dim, tokens, kind}, 7 * tokens,
                                                            images * tokens, bound<T>());
}

/// Patches alone: forward is exact, backward sums in the CPU's order.
template <class T>
void check_patches(const backend::patch_shape& s, index images) {
  CAPTURE(s.height);
  CAPTURE(s.patch);
  CAPTURE(s.stride);
  CAPTURE(s.padding);
  CAPTURE(images);
  const index rows = images * s.tokens();
  const tensor<T> x(images, s.image_size(), 1), dy(rows, s.patch_size(), 2);
  const host_tensor<T> host_x(x), host_dy(dy), y2(rows, s.patch_size()), dx2(images, s.image_size());
  polymoe::context<cpu> host;
  polymoe::context<cuda> c;
  for (const int blocks : {3, 1}) {
    c.stream.blocks = blocks;
    const grid_order with(static_cast<std::uint64_t>(blocks));
    tensor<T> y(rows, s.patch_size()), dx(images, s.image_size());
    backend::patches_forward<T>(host, s, host_x.v, y2.v);
    backend::patches_forward<T>(c, s, x.v, y.v);
    CHECK(same_bits(y.host(), y2.host()));
    backend::patches_backward<T>(host, s, host_dy.v, dx2.v);
    backend::patches_backward<T>(c, s, dy.v, dx.v);
    CHECK(same_bits(dx.host(), dx2.host()));
  }
}

TEST_CASE_TEMPLATE("positions and class tokens on CUDA equal the CPU's", T, double, float, bf16) {
  if (no_fibers()) return;
  for (const bool class_token : {false, true})
    for (const index images : {0, 1, 7}) {
      check_positions<T>(24, 5, class_token, images);
      check_positions<T>(10, 3, class_token, images);
    }
  check_positions<T>(384, 9, true, 3);
}

TEST_CASE_TEMPLATE("pooling on CUDA equals the CPU's", T, double, float, bf16) {
  if (no_fibers()) return;
  for (const nn::pool_kind kind : {nn::pool_kind::mean, nn::pool_kind::first})
    for (const index images : {0, 1, 7}) {
      check_pool<T>(24, 5, kind, images);
      check_pool<T>(10, 65, kind, images);
    }
  check_pool<T>(384, 63, nn::pool_kind::mean, 3);
  check_pool<T>(200, 1, nn::pool_kind::mean, 3);
}

TEST_CASE_TEMPLATE("patches on CUDA equal the CPU's bit by bit", T, double, float, bf16) {
  if (no_fibers()) return;
  for (const index images : {0, 1, 3}) {
    check_patches<T>({3, 16, 24, 8, 8, 8}, images);  // whole accesses, padding as wide as a patch
    check_patches<T>({3, 16, 24, 8, 8, 0}, images);
    check_patches<T>({2, 12, 8, 4, 4, 0}, images);
  }
  check_patches<T>({3, 11, 13, 3, 2, 1}, 2);
  check_patches<T>({1, 9, 9, 7, 4, 3}, 2);
  check_patches<T>({1, 5, 5, 2, 3, 0}, 2);  // pixels that no patch has
}

TEST_CASE("patches of a wrong size are refused with both numbers") {
  const backend::patch_shape s{1, 8, 8, 4, 4, 0};
  polymoe::context<cuda> c;
  tensor<float> x(2, 64, 1), y(7, 16);
  CHECK(holds(message_of([&] { backend::patches_forward<float>(c, s, x.v, y.v); }),
              "7 patches of 16 do not fit 4 patches"));
}

}  // namespace
