// A module of the CUDA backend with memory of its own, beside the same module on the CPU: what tests of whole modules
// share, under the host executor and on a GPU.  Include it after the headers of the module.
#pragma once

#include <polymoe/nn/module.hpp>

#include "tensors.hpp"

namespace polymoe::executor_test {

/// Module with its five kinds of memory in device blocks.
template <class Module>
struct device_module {
  using T = typename Module::scalar;
  using M = master_t<T>;

  device_module(Module m, index max_rows) : module(std::move(m)) {
    visitor<M> count;
    this->module.visit(count);
    elements = count.param_elements();
    const auto bytes = static_cast<std::size_t>(elements) * sizeof(M);
    values = backend::device_block(bytes), grads = backend::device_block(bytes);
    derived = backend::device_block(count.derived_bytes());
    visitor<M> attach(view<M>(static_cast<M*>(values.data()), 1, elements),
                      view<M>(static_cast<M*>(grads.data()), 1, elements), nullptr,
                      static_cast<std::byte*>(derived.data()));
    this->module.visit(attach);
    binder<cuda> dry;
    {
      const auto measured = module.bind(dry, max_rows);
      (void)measured;
    }
    // At least a byte, so that an arena is not taken for one that only measures.
    saved_block = backend::device_block(dry.saved.peak() + 1), scratch = backend::device_block(dry.scratch.peak() + 1);
    binder<cuda> real;
    real.saved = saved_block.as_arena();
    saved = module.bind(real, max_rows);
    c.stream.blocks = 3;
  }
  void load(const std::vector<M>& host) {
    REQUIRE(static_cast<index>(host.size()) == elements);
    device::upload(values.data(), host.data(), host.size() * sizeof(M), nullptr);
    device::clear(grads.data(), host.size() * sizeof(M), nullptr);
    begin(), module.refresh(c);
  }
  void forward(view<const T> x, view<T> y) { begin(), module.forward(c, x, y, saved); }
  void backward(view<const T> dy, view<T> dx) { begin(), module.backward(c, dy, dx, saved); }
  std::vector<M> gradients() const {
    std::vector<M> to(static_cast<std::size_t>(elements));
    device::download(to.data(), grads.data(), to.size() * sizeof(M), nullptr);
    return to;
  }
  /// Scratch without the last call's numbers.
  void begin() {
    device::wait(c.stream.handle);
    scratch = backend::device_block(scratch.size());
    c.scratch = scratch.as_arena();
  }

  Module module;
  index elements = 0;
  backend::device_block values, grads, derived, saved_block, scratch;
  context<cuda> c;
  typename Module::saved saved{};
};

/// How far the two backends are apart, and the bits of the CUDA one.
template <class T>
struct module_result {
  std::vector<T> y, dx;
  std::vector<master_t<T>> grads;
};

/// Runs the module on CUDA with the values of `w` on the same input, twice backward so that gradients have to add.
template <class Cuda, class Cpu>
module_result<typename Cuda::scalar> compare_module(const typename Cuda::config& config,
                                                    const typename Cpu::config& cpu_config, index max_rows, index rows,
                                                    double bound, int blocks = 3, std::uint64_t seed = 1) {
  using T = typename Cuda::scalar;
  using M = master_t<T>;
  CAPTURE(rows);
  workspace_options options;
  options.max_rows = max_rows, options.seed = 5;
  workspace<Cpu> w(Cpu(cpu_config), options);
  device_module<Cuda> d(Cuda(config), max_rows);
  d.c.stream.blocks = blocks;
  // Biases and the like start as zeros, which would hide them.
  const auto draw = random_root{3}.stream(9, 0);
  for (index i = 0; i < w.values().cols; ++i)
    w.values().set(0, i, w.values().get(0, i) + static_cast<M>(0.02 * draw.normal(static_cast<std::uint64_t>(i))));
  w.refresh();
  const grid_order with(seed);
  d.load(host_copy<M>(w.values()));
  const index out_rows = nn::rows_after(d.module, rows), in = d.module.in_cols(), out = d.module.out_cols();
  tensor<T> x(rows, in, 11), dy(out_rows, out, 12), y(out_rows, out), dx(rows, in);
  const host_tensor<T> host_x(x), host_dy(dy), y2(out_rows, out), dx2(rows, in);
  const auto x_before = x.host(), dy_before = dy.host();
  w.zero_grads();
  w.forward(host_x.v, y2.v);
  d.forward(x.v, y.v);
  for (int i = 0; i < 2; ++i) w.backward(host_dy.v, dx2.v), d.backward(dy.v, dx.v);
  module_result<T> r{y.host(), dx.host(), d.gradients()};
  CHECK(distance(r.y, y2.host()) <= bound);
  CHECK(distance(r.dx, dx2.host()) <= bound);
  CHECK(distance(r.grads, host_copy<M>(w.grads())) <= bound);
  CHECK(same_bits(x.host(), x_before));
  CHECK(same_bits(dy.host(), dy_before));
  // Without dx: the same gradients, a third time.
  d.backward(dy.v, {});
  w.backward(host_dy.v, {});
  CHECK(distance(d.gradients(), host_copy<M>(w.grads())) <= bound);
  return r;
}
/// The same, and again with another grid and order of blocks: the same bits.
template <class Cuda, class Cpu>
void compare_module_twice(const typename Cuda::config& config, const typename Cpu::config& cpu_config, index max_rows,
                          index rows, double bound) {
  const auto a = compare_module<Cuda, Cpu>(config, cpu_config, max_rows, rows, bound);
  const auto b = compare_module<Cuda, Cpu>(config, cpu_config, max_rows, rows, bound, 1, 7);
  CHECK(same_bits(a.y, b.y));
  CHECK(same_bits(a.dx, b.dx));
  CHECK(same_bits(a.grads, b.grads));
}

}  // namespace polymoe::executor_test
