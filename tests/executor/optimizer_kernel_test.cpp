// Optimiser steps on CUDA, run on the CPU by the host executor, against train/optimizer.hpp.
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

/// True when this compiler joins a product and a sum, as the CPU's loops then do too.
[[gnu::noinline]] bool contracts(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return a * b + c != 0;
#else
  return a * b + c != a * b + c;
#endif
}
bool fused() {
  volatile float a = 1.0f + 0x1p-12f;
  const float square = a * a;
  volatile float negative = -square;
  return contracts(a, a, negative);
}

template <class Rule, class R>
void compare_rules(Rule rule, double clip, index shift, std::uint64_t seed) {
  const auto list = entries();
  const index n = length();
  const cpu::stream one;
  runner<cuda> two;
  two.c.stream.blocks = static_cast<int>(seed % 3 + 1);
  executor::scope with{{.seed = seed}};
  step_state step;
  two.c.step = &step;
  tensor<R> p(1, n, 1), p2(1, n, 1, 0, shift), average(1, n, 1), average2(1, n, 1);
  tensor<R> m0(1, n, 0), m1(1, n, 0), n0(1, n, 0), n1(1, n, 0);
  for (tensor<R>* t : {&m0, &m1, &n0, &n1}) std::fill(t->v.ptr[0], t->v.ptr[0] + n, R(0));
  R *moments[] = {m0.v.ptr[0], m1.v.ptr[0]}, *moments2[] = {n0.v.ptr[0], n1.v.ptr[0]};
  const backend::optimizer_pieces pieces(two.c.stream, list);
  for (int i = 0; i < 3; ++i) {
    step.step = i, step.learning_rate = 0.01f / static_cast<float>(i + 1);
    tensor<R> g(1, n, 10 + i), g2(1, n, 10 + i), g0(1, n, 10 + i);
    const double norm = gradient_norm(list, g.v.ptr[0]);
    backend::optimizer_step(two.c, pieces, rule, clip, p2.v.ptr[0], fixed(g2).ptr[0], moments2, ema{0.9},
                            average2.v.ptr[0]);
    CHECK(pieces.report()->norm == doctest::Approx(norm).epsilon(1e-14));
    CHECK(pieces.report()->skipped == 0);
    CHECK((pieces.report()->scale < 1) == (clip > 0 && norm > clip));
    CHECK(same(g2, g0));
    // The reference is clipped by the norm of the device: its last bit depends on the order of the sum.
    if (pieces.report()->scale < 1)
      for (index k = 0; k < n; ++k) g.v.ptr[0][k] *= static_cast<R>(pieces.report()->scale);
    rule.step(one, list, p.v.ptr[0], fixed(g).ptr[0], moments, step);
    ema{0.9}.update(one, list, fixed(p).ptr[0], average.v.ptr[0], step);
    const double limit = sizeof(R) == 8 ? 1e-15 : 1e-7;
    CHECK(distance(p2.v, p.v) <= limit);
    CHECK(distance(average2.v, average.v) <= limit);
    if (sizeof(R) == 4 && fused()) {
      CHECK(same(p2, p));
      CHECK(same(n0, m0));
      CHECK(same(n1, m1));
      CHECK(same(average2, average));
    }
  }
}
}  // namespace

TEST_CASE("optimisers on CUDA equal the CPU's, bit by bit in float: SGD, AdamW, clipping, averages") {
  if (no_fibers()) return;
  MESSAGE("compared bit by bit: ", fused());
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
  two.c.step = &step;
  const backend::optimizer_pieces pieces(two.c.stream, list);
  tensor<float> p(1, n, 1), p0(1, n, 1), g(1, n, 2), m0(1, n, 3), m1(1, n, 4), a(1, n, 5), a0(1, n, 5), m00(1, n, 3);
  std::fill(m1.v.ptr[0], m1.v.ptr[0] + n, 1.0f);
  float* moments[] = {m0.v.ptr[0], m1.v.ptr[0]};
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    g.v.ptr[0][n - 1] = bad;
    backend::optimizer_step(two.c, pieces, adamw{}, 1.0, p.v.ptr[0], fixed(g).ptr[0], moments, ema{}, a.v.ptr[0]);
    CHECK(pieces.report()->skipped == 1);
    CHECK_FALSE(std::isfinite(pieces.report()->norm));
    CHECK(same(p, p0));
    CHECK(same(m0, m00));
    CHECK(same(a, a0));
  }
  CHECK(pieces.report()->skips == 2);
  g.v.ptr[0][n - 1] = 0;
  backend::optimizer_step(two.c, pieces, adamw{}, 1.0, p.v.ptr[0], fixed(g).ptr[0], moments);
  CHECK(pieces.report()->skipped == 0);
  CHECK(pieces.report()->skips == 2);
  CHECK_FALSE(same(p, p0));
  CHECK(same(a, a0));
}
TEST_CASE("optimisers on CUDA: the norm has the same bits for every grid; no tensors are no work") {
  if (no_fibers()) return;
  const auto list = entries();
  tensor<float> g(1, length(), 2);
  double first = 0;
  for (const int blocks : {1, 2, 132}) {
    runner<cuda> two;
    two.c.stream.blocks = blocks;
    executor::scope with{{.seed = static_cast<std::uint64_t>(blocks)}};
    const backend::optimizer_pieces pieces(two.c.stream, list);
    CHECK(pieces.count() == 6);
    backend::gradient_norm(two.c, pieces, fixed(g).ptr[0], 0.5);
    if (blocks == 1) first = pieces.report()->norm;
    CHECK(pieces.report()->norm == first);
    CHECK(pieces.report()->scale == 0.5 / first);
  }
  runner<cuda> two;
  const backend::optimizer_pieces none(two.c.stream, {});
  float* moments[2] = {};
  backend::optimizer_step<adamw, float>(two.c, none, adamw{}, 1.0, nullptr, nullptr, moments);
  CHECK(none.report()->norm == 0);
}
}  // namespace polymoe::executor_test
