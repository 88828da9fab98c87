// Tensors and comparisons that the tests of CUDA operations share, under the host executor and on a GPU.
#pragma once

#if !defined(__CUDACC__)
#include "host_executor.hpp"
#endif

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/backend.cuh>
#include <polymoe/polymoe.hpp>

namespace polymoe::executor_test {

#if defined(__CUDACC__)
namespace detail {
/// initcheck of compute-sanitizer learns nothing from memory that was filled on purpose (tests/sanitize).
inline const bool memory_filled = device::detail::fill_new_memory = std::getenv("POLYMOE_TEST_UNFILLED") == nullptr;
}  // namespace detail
#endif

/// What a tensor starts with: normal draws of the stream `salt` times `scale`; salt 0: 0xFF bytes (NaN).
struct draws {
  std::uint64_t salt = 0;
  double scale = 1;
  template <class I>
  draws(I s, double factor = 1) : salt(static_cast<std::uint64_t>(s)), scale(factor) {}
};

/// n of them, 0xFF bytes for salt 0.
template <class T>
std::vector<T> drawn(index n, const draws& from) {
  std::vector<T> to(static_cast<std::size_t>(n));
  if (from.salt == 0 && n > 0) std::memset(static_cast<void*>(to.data()), 0xFF, to.size() * sizeof(T));
  if (from.salt == 0) return to;
  const auto draw = random_root{77}.stream(from.salt, 0);
  for (std::size_t i = 0; i < to.size(); ++i)
    store(to[i], static_cast<compute_t<T>>(from.scale * static_cast<double>(draw.normal(i))));
  return to;
}

/// [rows, cols] of device memory, rows `cols + gap` elements apart, from a border of 256 bytes plus `shift` elements.
/// Under the executor the host may use `v` as well; on a GPU it goes through host() and put().
template <class T>
struct tensor {
  tensor(index rows, index cols, draws first = 0, index gap = 0, index shift = 0)
      : block(static_cast<std::size_t>(rows * (cols + gap) + shift + 1) * sizeof(T)),
        v(static_cast<T*>(block.data()) + shift, rows, cols, cols + gap) {
    if (first.salt != 0) put(drawn<T>(rows * cols, first));
  }
  tensor(tensor&&) = default;
  tensor& operator=(tensor&&) = default;
  operator view<T>() const { return v; }
  operator view<const T>() const { return v; }

  /// The rows, without gaps.
  std::vector<T> host() const {
    const std::vector<std::byte> all = memory();
    std::vector<T> to(static_cast<std::size_t>(v.size()));
    for (index r = 0; r < v.rows && v.cols > 0; ++r)
      std::memcpy(static_cast<void*>(to.data() + r * v.cols),
                  all.data() + static_cast<std::size_t>(r * v.stride) * sizeof(T),
                  static_cast<std::size_t>(v.cols) * sizeof(T));
    return to;
  }
  void put(const std::vector<T>& from) {
    REQUIRE(static_cast<index>(from.size()) == v.size());
    std::vector<std::byte> all = memory();
    for (index r = 0; r < v.rows && v.cols > 0; ++r)
      std::memcpy(all.data() + static_cast<std::size_t>(r * v.stride) * sizeof(T), from.data() + r * v.cols,
                  static_cast<std::size_t>(v.cols) * sizeof(T));
    device::upload(v.ptr[0], all.data(), all.size(), nullptr);
  }
  /// All bytes from the first to the last element, gaps included.
  std::vector<std::byte> memory() const {
    std::vector<std::byte> to(static_cast<std::size_t>(v.rows > 0 ? (v.rows - 1) * v.stride + v.cols : 0) * sizeof(T));
    device::download(to.data(), v.ptr[0], to.size(), nullptr);
    return to;
  }

  backend::device_block block;
  view<T> v;
};
template <class T>
view<const T> fixed(const tensor<T>& t) {
  return t.v;
}

/// The numbers of a tensor in host memory, for the CPU backend and for what a test computes itself.
template <class T>
struct host_tensor {
  host_tensor(index rows, index cols, draws first = 0) : host_tensor(rows, cols, drawn<T>(rows * cols, first)) {}
  explicit host_tensor(const tensor<T>& t) : host_tensor(t.v.rows, t.v.cols, t.host()) {}
  host_tensor(index rows, index cols, std::vector<T> numbers) : all(std::move(numbers)) {
    all.resize(all.size() + 1);  // so that a tensor without rows is not taken for one that is not there
    v = view<T>(all.data(), rows, cols);
  }
  host_tensor(host_tensor&&) = default;
  host_tensor& operator=(host_tensor&&) = default;
  operator view<T>() const { return v; }
  operator view<const T>() const { return v; }
  std::vector<T> host() const { return {all.begin(), all.end() - 1}; }

  std::vector<T> all;
  view<T> v;
};

/// Values that kernels read or write: labels, a step's state, a report.
template <class X>
struct on_device {
  explicit on_device(const std::vector<X>& x) : count(x.size()), block((x.size() + 1) * sizeof(X)) {
    device::upload(block.data(), x.data(), x.size() * sizeof(X), nullptr);
  }
  explicit on_device(const X& x) : on_device(std::vector<X>{x}) {}
  X* data() const { return static_cast<X*>(block.data()); }
  std::span<const X> all() const { return {data(), count}; }
  void put(const X& x) { device::upload(block.data(), &x, sizeof x, nullptr); }
  X get() const { return get_from(data()); }
  static X get_from(const X* at) {
    X x;
    device::download(&x, at, sizeof x, nullptr);
    return x;
  }

  std::size_t count;
  backend::device_block block;
};

/// Until the end of the block the executor takes blocks and threads in the order of this seed; a GPU in its own.
struct grid_order {
#if defined(__CUDACC__)
  explicit grid_order(std::uint64_t) {}
  ~grid_order() {}  // so that an object which only lives is no unused variable
#else
  explicit grid_order(std::uint64_t seed) : with(settings(seed)) {}
  static executor::settings settings(std::uint64_t seed) {
    executor::settings s;
    s.seed = seed;
    return s;
  }
  executor::scope with;
#endif
};

template <class T>
double number(const T& x) {
  return static_cast<double>(static_cast<compute_t<T>>(x));
}
template <class T>
std::vector<T> host_copy(view<const T> v) {
  std::vector<T> to;
  for (index r = 0; r < v.rows; ++r) to.insert(to.end(), v.row(r), v.row(r) + v.cols);
  return to;
}

/// How to take numbers that are not finite: as wrong, or as right where the other side has one as well.
enum class not_finite { wrong, in_both };
/// |a - b| / |b| over all elements, over `least` where |b| is less (what cancels to rounding has no relative error);
/// infinite where a number is not finite.
template <class T, class U>
double distance(const std::vector<T>& a, const std::vector<U>& b, not_finite how = not_finite::wrong,
                double least = 0) {
  REQUIRE(a.size() == b.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = number(a[i]), y = number(b[i]);
    if (std::isfinite(x) && std::isfinite(y)) {
      difference += (x - y) * (x - y), size += y * y;
    } else if (how == not_finite::wrong || std::isfinite(x) != std::isfinite(y)) {
      return HUGE_VAL;
    }
  }
  size = std::max(size, least * least);
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}
/// The same for memory the host can read.
template <class T, class U>
double distance(const view<T>& a, const view<U>& b, not_finite how = not_finite::wrong) {
  return distance(host_copy<std::remove_const_t<T>>(a), host_copy<std::remove_const_t<U>>(b), how);
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
/// The whole memory of both is equal bit by bit, gaps included.
template <class T>
bool same(const tensor<T>& a, const tensor<T>& b) {
  return same_bits(a.memory(), b.memory());
}

/// A context of backend B with poisoned memory of the size that `bind(binder&)` asks for in a dry pass; `real` is the
/// binder of the second pass.
template <class B>
struct runner {
  using block = owned_block<typename B::memory>;
  context<B> c;
  binder<B> real;
  block scratch, saved;
  aligned_block worker;

  runner() = default;
  template <class Bind>
  explicit runner(Bind bind) {
    binder<B> dry;
    bind(dry);
    scratch = block(dry.scratch.peak()), saved = block(dry.saved.peak() + arena::alignment);
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
