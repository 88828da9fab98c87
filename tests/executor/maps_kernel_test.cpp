// Modules on feature maps of the CUDA backend, run by the host executor and in tests/gpu on a GPU, against the CPU
// backend: convolutions plain and depthwise, pooling, group norm, batch norm with its running statistics.
// with: nn
#if !defined(__CUDACC__)
#include "host_executor.hpp"

#include "host_blaslt.hpp"
#endif

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/dispatch/batch_norm.cuh>
#include <polymoe/backend/cuda/dispatch/conv.cuh>
#include <polymoe/backend/cuda/dispatch/group_norm.cuh>
#include <polymoe/backend/cuda/dispatch/pool2d.cuh>
#include <polymoe/cuda_nn.cuh>
#include <polymoe/nn/batch_norm.hpp>
#include <polymoe/nn/conv2d.hpp>
#include <polymoe/nn/group_norm.hpp>
#include <polymoe/nn/pool2d.hpp>
#include <polymoe/nn/resnet.hpp>

#include "device_module.hpp"
#include "helpers.hpp"

namespace maps_test {
using namespace polymoe::executor_test;
using polymoe::bf16;
using polymoe::cpu;
using polymoe::cuda;
using polymoe::index;
namespace nn = polymoe::nn;

template <class T>
constexpr double bound() {
  return std::is_same_v<T, double> ? 1e-12 : (std::is_same_v<T, float> ? 1e-5 : 1.2e-2);
}

struct conv_case {
  index in, out, height, width, kernel, stride, padding;
  bool bias = true, depthwise = false;
};
template <class T>
void check_conv(const conv_case& z, index images) {
  CAPTURE(z.in);
  CAPTURE(z.out);
  CAPTURE(z.kernel);
  CAPTURE(z.stride);
  CAPTURE(z.depthwise);
  const auto config = [&](auto c) {
    c.in = z.in, c.out = z.out, c.height = z.height, c.width = z.width, c.kernel = z.kernel, c.stride = z.stride;
    c.padding = z.padding, c.bias = z.bias, c.depthwise = z.depthwise;
    return c;
  };
  using device = nn::conv2d<T, cuda>;
  using host = nn::conv2d<T, cpu>;
  compare_module_twice<device, host>(config(typename device::config{}), config(typename host::config{}),
                                     5 * z.height * z.width, images * z.height * z.width, bound<T>());
}
template <class T>
void check_pool2d(index channels, index height, index width, index kernel, index stride, index padding,
                  nn::pool2d_kind kind, index images) {
  CAPTURE(channels);
  CAPTURE(kernel);
  CAPTURE(stride);
  using device = nn::pool2d<T, cuda>;
  using host = nn::pool2d<T, cpu>;
  compare_module_twice<device, host>({channels, height, width, kernel, stride, padding, kind},
                                     {channels, height, width, kernel, stride, padding, kind}, 5 * height * width,
                                     images * height * width, bound<T>());
}
template <class T>
void check_group_norm(index channels, index groups, index pixels, index images) {
  CAPTURE(channels);
  CAPTURE(groups);
  CAPTURE(pixels);
  compare_module_twice<nn::group_norm<T, cuda>, nn::group_norm<T, cpu>>({channels, groups, pixels},
                                                                        {channels, groups, pixels}, 5 * pixels,
                                                                        images * pixels, bound<T>());
}

/// Two calls and a commit, a refused step, and a call in evaluation.
template <class T>
void check_batch_norm(index channels, index rows) {
  CAPTURE(channels);
  CAPTURE(rows);
  using device = nn::batch_norm<T, cuda>;
  using host = nn::batch_norm<T, cpu>;
  polymoe::workspace_options options;
  options.max_rows = rows;
  polymoe::workspace<device> d(device({channels}), options);
  polymoe::workspace<host> h(host({channels}), options);
  tensor<T> x(rows, channels, 21), more(rows, channels, 22), y(rows, channels), dx(rows, channels);
  const host_tensor<T> host_x(x), host_more(more), y2(rows, channels), dx2(rows, channels);
  const auto same_state = [&] {
    const std::vector<float> a = d.state_on_host(), b = h.state_on_host();
    CHECK(distance(a, b) <= 1e-5);
    return b;
  };
  const auto commit = [&] { d.module().commit(d.ctx()), h.module().commit(h.ctx()); };
  d.forward(x.v, y.v), h.forward(host_x.v, y2.v);
  CHECK(distance(y.host(), y2.host()) <= bound<T>());
  d.backward(more.v, dx.v), h.backward(host_more.v, dx2.v);
  CHECK(distance(dx.host(), dx2.host()) <= bound<T>());
  CHECK(distance(d.grads_on_host(), h.grads_on_host()) <= bound<T>());
  d.forward(more.v, y.v), h.forward(host_more.v, y2.v);
  const auto calls = [&](const std::vector<float>& state) {
    return state[static_cast<std::size_t>(h.state_entries().back().offset + 2 * channels)];
  };
  CHECK(calls(same_state()) == (rows > 0 ? 2 : 0));
  commit();
  const auto committed = same_state();
  if (rows > 0) CHECK(committed[0] != 0);
  CHECK(calls(committed) == 0);
  // A refused step changes nothing and is forgotten.
  const std::int32_t refused = 1;
  const on_device<std::int32_t> refused_there(refused);
  d.ctx().halted = refused_there.data(), h.ctx().halted = &refused;
  d.forward(more.v, y.v), h.forward(host_more.v, y2.v);
  commit();
  CHECK(same_state() == committed);
  CHECK(calls(d.state_on_host()) == 0);
  d.ctx().mode = h.ctx().mode = polymoe::run_mode::eval;
  d.forward(x.v, y.v), h.forward(host_x.v, y2.v);
  CHECK(distance(y.host(), y2.host()) <= 2 * bound<T>() + 1e-6);
  d.backward(more.v, dx.v), h.backward(host_more.v, dx2.v);
  CHECK(distance(dx.host(), dx2.host()) <= 2 * bound<T>() + 1e-6);
  CHECK(distance(d.grads_on_host(), h.grads_on_host()) <= 2 * bound<T>() + 1e-6);
  CHECK(same_state() == committed);
}

/// What a convolution gives when its windows may take `bytes`, and the scratch that it asks for.
struct conv_result {
  std::vector<double> y, dx, dw, db;
  std::size_t scratch = 0;
};
conv_result convolved(index bytes) {
  const polymoe::maths::convolution_shape s{6, 6, 3, 4, 3, 1, 1};
  const index images = 5, rows = images * s.in_pixels();
  const polymoe::backend::conv<double, cuda> conv(s, bytes);
  polymoe::binder<cuda> dry;
  conv.bind(dry, images);
  polymoe::backend::device_block scratch(dry.scratch.peak() + 1), derived(conv.derived_bytes());
  polymoe::context<cuda> c;
  c.stream.blocks = 3;
  c.scratch = scratch.as_arena();
  auto* const packed = static_cast<std::byte*>(derived.data());
  tensor<double> w(4, 27, 1), b(1, 4, 2), x(rows, 3, 3), dy(rows, 4, 4), y(rows, 4), dx(rows, 3), dw(4, 27, 5),
      db(1, 4, 6);
  conv.pack(c, w.v, b.v, packed);
  conv.forward(c, x.v, packed, b.v, y.v, dy.v);
  conv.backward(c, dy.v, packed, dx.v, x.v);
  conv.weight_gradient(c, dy.v, x.v, dw.v, db.v);
  return {y.host(), dx.host(), dw.host(), db.host(), dry.scratch.peak()};
}
}  // namespace maps_test

TEST_CASE("a convolution whose windows do not fit at once takes its images in chunks") {
  using namespace maps_test;
  const conv_result whole = convolved(polymoe::index{1} << 30), chunks = convolved(2 * 36 * 36 * 8),
                    single = convolved(1);
  CHECK(chunks.scratch < whole.scratch);
  CHECK(single.scratch < chunks.scratch);
  for (const conv_result* r : {&chunks, &single}) {
    CHECK(distance(r->y, whole.y) <= 1e-14);
    CHECK(distance(r->dx, whole.dx) <= 1e-14);
    CHECK(distance(r->dw, whole.dw) <= 1e-14);
    CHECK(distance(r->db, whole.db) <= 1e-14);
  }
}
TEST_CASE("convolutions on CUDA are the CPU's: strides, padding, kernels, odd channels, one pixel, no bias") {
  using namespace maps_test;
  check_conv<double>({3, 5, 7, 6, 3, 1, 1}, 4);
  check_conv<double>({4, 6, 9, 8, 3, 2, 1, false}, 5);
  check_conv<double>({6, 4, 5, 5, 1, 1, 0}, 3);
  check_conv<double>({8, 3, 6, 7, 1, 2, 0}, 3);
  check_conv<double>({2, 2, 8, 8, 5, 3, 2}, 0);
  check_conv<bf16>({16, 8, 6, 6, 3, 1, 1}, 3);
  check_conv<bf16>({3, 8, 8, 8, 3, 2, 1}, 2);
}
TEST_CASE("depthwise convolutions on CUDA are the CPU's") {
  using namespace maps_test;
  check_conv<double>({5, 5, 7, 6, 3, 1, 1, true, true}, 4);
  check_conv<double>({34, 34, 9, 8, 5, 2, 2, false, true}, 5);
  check_conv<bf16>({16, 16, 12, 12, 3, 1, 1, true, true}, 3);
}
TEST_CASE("pooling of maps on CUDA is the CPU's: overlapping windows, borders, ties") {
  using namespace maps_test;
  using nn::pool2d_kind;
  check_pool2d<double>(5, 7, 6, 3, 2, 1, pool2d_kind::max, 4);
  check_pool2d<double>(5, 7, 6, 3, 2, 1, pool2d_kind::mean, 4);
  check_pool2d<bf16>(16, 8, 8, 2, 0, 0, pool2d_kind::max, 3);
  check_pool2d<bf16>(16, 8, 8, 3, 1, 1, pool2d_kind::mean, 3);
}
TEST_CASE("group norm of maps on CUDA is the CPU's: one group, a group a channel, more than a block's pixels") {
  using namespace maps_test;
  check_group_norm<double>(6, 3, 20, 4);
  check_group_norm<double>(34, 34, 300, 2);
  check_group_norm<double>(5, 1, 9, 0);
  check_group_norm<float>(12, 1, 30, 5);
  check_group_norm<bf16>(64, 8, 49, 3);
}
TEST_CASE("batch norm on CUDA is the CPU's, in training, in evaluation, over commits and refused steps") {
  using namespace maps_test;
  check_batch_norm<double>(5, 37);
  check_batch_norm<float>(40, 300);
  check_batch_norm<double>(3, 1);
  check_batch_norm<double>(4, 0);
  check_batch_norm<bf16>(16, 150);
}
TEST_CASE("a residual network on CUDA gives the CPU's features, gradients and running statistics") {
  using namespace maps_test;
  using device = nn::resnet_features<double, cuda>;
  using host = nn::resnet_features<double, cpu>;
  nn::resnet_sizes sizes;
  sizes.height = sizes.width = 8, sizes.base = 2;
  const polymoe::index images = 3;
  polymoe::workspace<device> d(device(nn::resnet_features_config<double, cuda>(sizes)),
                               {.max_rows = images, .seed = 4});
  polymoe::workspace<host> h(host(nn::resnet_features_config<double, cpu>(sizes)), {.max_rows = images, .seed = 4});
  tensor<double> x(images, 3 * 64, 31), y(images, 16), dy(images, 16, 32), dx(images, 3 * 64);
  const host_tensor<double> host_x(x), host_dy(dy), y2(images, 16), dx2(images, 3 * 64);
  d.forward(x.v, y.v), h.forward(host_x.v, y2.v);
  d.backward(dy.v, dx.v), h.backward(host_dy.v, dx2.v);
  CHECK(distance(y.host(), y2.host()) <= 1e-10);
  CHECK(distance(dx.host(), dx2.host()) <= 1e-10);
  CHECK(distance(d.grads_on_host(), h.grads_on_host()) <= 1e-10);
  CHECK(distance(d.state_on_host(), h.state_on_host()) <= 1e-6);
}
