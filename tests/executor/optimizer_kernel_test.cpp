// Optimiser steps on CUDA, run by the host executor and in tests/gpu on a GPU, against train/optimizer.hpp.
// sanitize: yes
// with: nn
#include "helpers.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cuda/dispatch/optimizer.cuh>

namespace polymoe::executor_test {
namespace {

/// Tensors of odd sizes, some off a 16-byte border, one longer than a piece; gaps between some.
std::vector<param_entry> entries() {
  std::vector<param_entry> list;
  index offset = 0;
  const auto add = [&](index size, decay d, bool gap) {
    if (gap) offset = round_up(offset, 16) + 16;
    list.push_back({"t" + std::to_string(list.size()), {size}, offset, size, {}, d});
    offset += size;
  };
  add(5, decay::yes, false);
  add(37, decay::no, false);
  add(16384 + 19, decay::yes, true);
  add(64, decay::no, true);
  add(3, decay::yes, false);
  return list;
}
index length() { return entries().back().offset + entries().back().size; }

optimizer_report report_of(const backend::optimizer_pieces& pieces) {
  return on_device<optimizer_report>::get_from(pieces.report());
}
/// Zeros, as moments begin.
template <class R>
tensor<R> zeros(index n) {
  tensor<R> t(1, n);
  t.put(std::vector<R>(static_cast<std::size_t>(n), R(0)));
  return t;
}

template <class Rule, class R>
void compare_rules(Rule rule, double clip, index shift, std::uint64_t seed) {
  const auto list = entries();
  const index n = length();
  const cpu::stream one;
  runner<cuda> two;
  two.c.stream.blocks = static_cast<int>(seed % 3 + 1);
  const grid_order with(seed);
  step_state step;
  on_device<step_state> there(step);
  two.c.step = there.data();
  tensor<R> p(1, n, 1, 0, shift), average(1, n, 1), m0 = zeros<R>(n), m1 = zeros<R>(n);
  const host_tensor<R> want(p), want_average(average), want_m0(m0), want_m1(m1);
  R *moments[] = {m0.v.ptr[0], m1.v.ptr[0]}, *want_moments[] = {want_m0.v.ptr[0], want_m1.v.ptr[0]};
  const backend::optimizer_pieces pieces(two.c.stream, list);
  for (int i = 0; i < 3; ++i) {
    step.step = i, step.learning_rate = 0.01f / static_cast<float>(i + 1);
    there.put(step);
    tensor<R> g(1, n, 10 + i);
    const host_tensor<R> host_g(g);
    const auto before = g.memory();
    const double norm = gradient_norm(list, host_g.v.ptr[0]);
    backend::optimizer_step(two.c, pieces, rule, clip, p.v.ptr[0], fixed(g).ptr[0], moments, ema{0.9},
                            average.v.ptr[0]);
    const optimizer_report report = report_of(pieces);
    CHECK(report.norm == doctest::Approx(norm).epsilon(1e-14));
    CHECK(report.skipped == 0);
    CHECK((report.scale < 1) == (clip > 0 && norm > clip));
    CHECK(same_bits(g.memory(), before));
    // The reference is clipped by the norm of the device: its last bit depends on the order of the sum.
    if (report.scale < 1)
      for (index k = 0; k < n; ++k) host_g.v.ptr[0][k] *= static_cast<R>(report.scale);
    rule.step(one, list, want.v.ptr[0], static_cast<const R*>(host_g.v.ptr[0]), want_moments, step);
    ema{0.9}.update(one, list, static_cast<const R*>(want.v.ptr[0]), want_average.v.ptr[0], step);
#if defined(__CUDACC__)  // the host's compiler may lack fused multiply-adds, and the two have their own pow
    const double limit = sizeof(R) == 8 ? 1e-15 : 1e-7;
    CHECK(distance(p.host(), want.host()) <= limit);
    CHECK(distance(average.host(), want_average.host()) <= limit);
    if (!same_bits(p.host(), want.host()))
      MESSAGE("step ", i, " of seed ", seed, " differs from the CPU's in its last bits");
#else
    // Both are one text of multiply-adds, whatever the compiler joins by itself.
    CHECK(same_bits(p.host(), want.host()));
    CHECK(same_bits(m0.host(), want_m0.host()));
    CHECK(same_bits(m1.host(), want_m1.host()));
    CHECK(same_bits(average.host(), want_average.host()));
#endif
  }
}
}  // namespace

TEST_CASE("optimisers on CUDA equal the CPU's bit by bit: SGD, AdamW, clipping, averages") {
  if (no_fibers()) return;
  compare_rules<sgd, float>({0.9, 0.01, false}, 0, 0, 1);
  compare_rules<sgd, float>({0.9, 0.01, true}, 1.0, 1, 2);
  compare_rules<adamw, float>({}, 1.0, 0, 3);
  compare_rules<adamw, float>({}, 1e9, 3, 4);
  compare_rules<adamw, double>({}, 1.0, 0, 5);
  compare_rules<sgd, double>({0.9, 0.1, true}, 0, 0, 6);
}
TEST_CASE("optimisers on CUDA: a norm that is not finite changes nothing and is counted") {
  if (no_fibers()) return;
  const auto list = entries();
  const index n = length();
  runner<cuda> two;
  two.c.stream.blocks = 2;
  step_state step;
  step.learning_rate = 0.1f;
  const on_device<step_state> there(step);
  two.c.step = there.data();
  const backend::optimizer_pieces pieces(two.c.stream, list);
  tensor<float> p(1, n, 1), g(1, n, 2), m0(1, n, 3), m1(1, n, 4), a(1, n, 5);
  m1.put(std::vector<float>(static_cast<std::size_t>(n), 1.0f));
  const auto p0 = p.memory(), m00 = m0.memory(), a0 = a.memory();
  float* moments[] = {m0.v.ptr[0], m1.v.ptr[0]};
  std::vector<float> gradient = g.host();
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    gradient.back() = bad;
    g.put(gradient);
    backend::optimizer_step(two.c, pieces, adamw{}, 1.0, p.v.ptr[0], fixed(g).ptr[0], moments, ema{}, a.v.ptr[0]);
    CHECK(report_of(pieces).skipped == 1);
    CHECK_FALSE(std::isfinite(report_of(pieces).norm));
    CHECK(same_bits(p.memory(), p0));
    CHECK(same_bits(m0.memory(), m00));
    CHECK(same_bits(a.memory(), a0));
  }
  CHECK(report_of(pieces).skips == 2);
  gradient.back() = 0;
  g.put(gradient);
  backend::optimizer_step(two.c, pieces, adamw{}, 1.0, p.v.ptr[0], fixed(g).ptr[0], moments);
  CHECK(report_of(pieces).skipped == 0);
  CHECK(report_of(pieces).skips == 2);
  CHECK_FALSE(same_bits(p.memory(), p0));
  CHECK(same_bits(a.memory(), a0));
}
TEST_CASE("optimisers on CUDA: the norm has the same bits for every grid; no tensors are no work") {
  if (no_fibers()) return;
  const auto list = entries();
  tensor<float> g(1, length(), 2);
  double first = 0;
  for (const int blocks : {1, 2, 132}) {
    runner<cuda> two;
    two.c.stream.blocks = blocks;
    const grid_order with(static_cast<std::uint64_t>(blocks));
    const backend::optimizer_pieces pieces(two.c.stream, list);
    CHECK(pieces.count() == 6);
    backend::gradient_norm(two.c, pieces, fixed(g).ptr[0], 0.5);
    if (blocks == 1) first = report_of(pieces).norm;
    CHECK(report_of(pieces).norm == first);
    CHECK(report_of(pieces).scale == 0.5 / first);
  }
  runner<cuda> two;
  const backend::optimizer_pieces none(two.c.stream, {});
  float* moments[2] = {};
  backend::optimizer_step<adamw, float>(two.c, none, adamw{}, 1.0, nullptr, nullptr, moments);
  CHECK(report_of(none).norm == 0);
}
}  // namespace polymoe::executor_test
