// Tensors and comparisons that the tests of CUDA operations against the CPU backend share.
#pragma once

#include "host_executor.hpp"

#include <cstring>
#include <vector>

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/backend.cuh>
#include <polymoe/polymoe.hpp>

namespace polymoe::executor_test {

/// [rows, cols] with rows `cols + gap` elements apart, from a border of 64 bytes plus `shift` elements.  `salt` 0:
/// filled with 0xFF bytes (NaN); else normal draws.
template <class T>
struct tensor {
  tensor(index rows, index cols, int salt, index gap = 0, index shift = 0)
      : data(static_cast<std::size_t>(rows * (cols + gap) + shift) + 64 / sizeof(T) + 1) {
    std::memset(static_cast<void*>(data.data()), 0xFF, data.size() * sizeof(T));
    auto* p = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(data.data()) + 63) / 64 * 64) + shift;
    v = view<T>(p, rows, cols, cols + gap);
    const auto draw = random_root{77}.stream(static_cast<std::uint64_t>(salt), 0);
    if (salt)
      for (index r = 0; r < rows; ++r)
        for (index k = 0; k < cols; ++k) store(v.row(r)[k], draw.normal(static_cast<std::uint64_t>(r * cols + k)));
  }
  tensor(const tensor&) = delete;
  operator view<T>() const { return v; }
  operator view<const T>() const { return v; }

  std::vector<T> data;
  view<T> v;
};

/// |a - b| / |b| over all elements; NaN when an element of a is NaN.
template <class T, class U>
double distance(const view<T>& a, const view<U>& b) {
  double difference = 0, size = 0;
  for (index r = 0; r < a.rows; ++r)
    for (index k = 0; k < a.cols; ++k) {
      const double x = static_cast<double>(a.get(r, k)), y = static_cast<double>(b.get(r, k));
      difference += (x - y) * (x - y), size += y * y;
    }
  return std::sqrt(difference / (size > 0 ? size : 1));
}
/// The whole memory of both is equal bit by bit, gaps included.
template <class T>
bool same(const tensor<T>& a, const tensor<T>& b) {
  const auto bytes = [](const tensor<T>& t) {
    return static_cast<std::size_t>(t.v.rows > 0 ? (t.v.rows - 1) * t.v.stride + t.v.cols : 0) * sizeof(T);
  };
  return bytes(a) == bytes(b) && (bytes(a) == 0 || std::memcmp(a.v.ptr[0], b.v.ptr[0], bytes(a)) == 0);
}
template <class T>
view<const T> fixed(const tensor<T>& t) {
  return t.v;
}

/// A context of backend B with poisoned memory of the size that `bind(binder&)` asks for in a dry pass; `real` is the
/// binder of the second pass.
template <class B>
struct runner {
  context<B> c;
  binder<B> real;
  aligned_block scratch, saved, worker;

  runner() = default;
  template <class Bind>
  explicit runner(Bind bind) {
    binder<B> dry;
    bind(dry);
    scratch = aligned_block(dry.scratch.peak()), saved = aligned_block(dry.saved.peak() + arena::alignment);
    c.scratch = scratch.as_arena(), real.saved = saved.as_arena();
    if constexpr (requires { c.stream.worker_bytes; }) {
      worker = aligned_block(dry.worker_bytes + arena::alignment);
      c.stream.worker_scratch = static_cast<std::byte*>(worker.data());
      c.stream.worker_bytes = worker.size();
    } else {
      c.stream.blocks = 2;
    }
  }
};

/// What a type may differ by from the CPU: double, float, bf16.
template <class T>
constexpr double bound(double narrow = 1e-2) {
  return sizeof(T) == 8 ? 1e-12 : (sizeof(T) == 4 ? 1e-5 : narrow);
}

}  // namespace polymoe::executor_test
