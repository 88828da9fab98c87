// What the tests of Soft MoE on CUDA share: specs, and a layer on both backends with what its experts read.
#pragma once

#include "layer_harness.hpp"

namespace slot_test {
using namespace layer_test;
using polymoe::index;
namespace axis = polymoe::axis;

/// Few experts: fewer kernels to compile.
template <class T, class Axis = axis::image, bool Normalised = true>
struct soft_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::soft_slots<Axis, Normalised>;
  static constexpr int most_experts = 32;
};
/// Both layers, and what their experts read.
template <class Spec>
void check(const setup& s, bool keeps_slots = true) {
  both<Spec> b(s);
  if (!keeps_slots) return;
  using T = typename Spec::scalar;
  const auto& want = b.host().saved().apply.gathered;
  const auto& plan = b.host().saved().routing.plan;
  const auto& got = b.device().saved().apply.gathered;
  const auto rows = static_cast<std::size_t>(index{plan.max_slots} * s.unit_rows * s.dim);
  std::vector<T> slots(rows);
  polymoe::device::download(slots.data(), got.ptr[0], rows * sizeof(T), b.device().ctx().stream.handle);
  CHECK(distance(slots, std::vector<T>(want.ptr[0], want.ptr[0] + rows)) <= both<Spec>::tolerance);
}

}  // namespace slot_test
