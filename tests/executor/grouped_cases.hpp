// What the tests of the grouped product share: ragged problems with poisoned surroundings, and plain fp64 loops.
#pragma once

#include "host_executor.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/dispatch/grouped.cuh>
#include <polymoe/core/rng.hpp>

namespace polymoe::grouped_test {

template <class T>
double number(T x) {
  return static_cast<double>(static_cast<compute_t<T>>(x));
}
/// Place of element (row, column) in rows of `width`; place of element i.
inline std::size_t at(index row, index width, index column) { return static_cast<std::size_t>(row * width + column); }
inline std::size_t at(index i) { return static_cast<std::size_t>(i); }
/// n standard normal numbers, rounded to T.
template <class T>
std::vector<T> normals(index n, std::uint64_t seed, double scale = 1) {
  const auto draw = random_root{seed}.stream(1, 0);
  std::vector<T> v(static_cast<std::size_t>(n));
  for (index i = 0; i < n; ++i)
    store(v[at(i)], static_cast<compute_t<T>>(scale * static_cast<double>(draw.normal(static_cast<std::uint64_t>(i)))));
  return v;
}
/// A vector of n NaNs.
template <class T>
std::vector<T> poison(index n) {
  std::vector<T> v(static_cast<std::size_t>(n));
  std::memset(static_cast<void*>(v.data()), 0xFF, v.size() * sizeof(T));
  return v;
}
/// |x - y| / |y|; x may have more elements than y.
template <class T>
double distance(const std::vector<T>& x, const std::vector<double>& y) {
  double d = 0, n = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    d += (number(x[i]) - y[i]) * (number(x[i]) - y[i]);
    n += y[i] * y[i];
  }
  return n > 0 ? std::sqrt(d / n) : std::sqrt(d);
}
template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0);
}
/// True when all bytes of x from element `from` on are 0xFF still.
template <class T>
bool untouched(const std::vector<T>& x, std::size_t from) {
  const auto* p = reinterpret_cast<const unsigned char*>(x.data() + from);
  for (std::size_t i = 0; i < (x.size() - from) * sizeof(T); ++i)
    if (p[i] != 0xFF) return false;
  return true;
}

/// Rows per expert, and what follows from them.
struct ragged {
  std::vector<int> first{0};
  explicit ragged(const std::vector<int>& rows) {
    for (int r : rows) first.push_back(first.back() + r);
  }
  int experts() const { return static_cast<int>(first.size()) - 1; }
  int rows() const { return first.back(); }
  /// The bound on slots is larger than what is used.
  grouped::segments segments(int spare = 70) const { return {first.data(), experts(), 0, rows() + spare, 1}; }
  int expert_of(int row) const {
    int e = 0;
    while (first[at(e + 1)] <= row) ++e;
    return e;
  }
};

/// Segment lists every operation is tried on.
inline std::vector<std::vector<int>> ragged_lists() {
  return {{0, 1, 63, 64, 65}, {127, 128, 0, 129}, {300}, {0, 0, 300, 0}, {0, 0, 0}, {5, 0, 0, 40, 0, 0, 0, 9}};
}

inline double gelu(double x) { return act::gelu_tanh{}(x); }
inline double gelu_grad(double x) { return act::gelu_tanh{}.grad(x); }

}  // namespace polymoe::grouped_test
