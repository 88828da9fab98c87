// Shared by the tests of the MoE core: numbers, owning tensors, named parameters, and a reference written with none of
// the library's code (moe_reference.hpp).
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <polymoe/polymoe.hpp>

namespace moe_test {

using polymoe::index;
using polymoe::real_t;
using polymoe::view;

inline constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Number i of a sequence in (-1, 1) that depends on `seed` (splitmix64).
inline double noise(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed * 0x9e3779b97f4a7c15ull + (i + 1) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1.0;
}

template <class R>
R number(double x) {
  if constexpr (std::is_same_v<R, polymoe::bf16>) return polymoe::bf16(static_cast<float>(x));
  else return static_cast<R>(x);
}
template <class R>
double as_double(R x) {
  return static_cast<double>(polymoe::value_of(x));
}

/// A matrix with its own memory, filled with NaN at first so that outputs nobody writes are seen.
template <class T>
struct tensor {
  using R = real_t<T>;
  index rows = 0, cols = 0;
  std::vector<R> plane[polymoe::plane_count<T>];

  tensor(index r, index c, double fill = not_a_number) : rows(r), cols(c) {
    for (auto& p : plane) p.assign(static_cast<std::size_t>(r * c), number<R>(fill));
  }
  view<T> get() {
    view<T> v;
    for (int i = 0; i < polymoe::plane_count<T>; ++i) v.ptr[i] = plane[i].data();
    v.rows = rows, v.cols = cols, v.stride = cols;
    return v;
  }
  double at(index r, index c, int p = 0) const { return as_double(plane[p][static_cast<std::size_t>(r * cols + c)]); }
  void put(index r, index c, double x, int p = 0) { plane[p][static_cast<std::size_t>(r * cols + c)] = number<R>(x); }
  /// Values scale * noise; tangent planes become zero.
  tensor& randomise(std::uint64_t seed, double scale = 1) {
    for (std::size_t i = 0; i < plane[0].size(); ++i) plane[0][i] = number<R>(scale * noise(seed, i));
    for (int p = 1; p < polymoe::plane_count<T>; ++p) plane[p].assign(plane[p].size(), number<R>(0));
    return *this;
  }
  void fill(double x) {
    for (auto& p : plane) p.assign(p.size(), number<R>(x));
  }
  bool same_bits(const tensor& o) const {
    return plane[0].empty() || std::memcmp(plane[0].data(), o.plane[0].data(), plane[0].size() * sizeof(R)) == 0;
  }
  bool row_same_bits(index r, const tensor& o, index other) const {
    const auto n = static_cast<std::size_t>(cols);
    return std::memcmp(plane[0].data() + static_cast<std::size_t>(r) * n,
                       o.plane[0].data() + static_cast<std::size_t>(other) * n, n * sizeof(R)) == 0;
  }
  bool all_finite() const {
    for (const auto& p : plane)
      for (const R x : p)
        if (!std::isfinite(as_double(x))) return false;
    return true;
  }
};

/// Tensors of a workspace by name, as doubles: values, or gradients.
using named = std::map<std::string, std::vector<double>>;
template <class W, class V>
named by_name(const W& w, const V& flat) {
  named out;
  for (const auto& e : w.entries()) {
    auto& v = out[e.name];
    for (index i = 0; i < e.size; ++i) v.push_back(as_double(flat.ptr[0][e.offset + i]));
  }
  return out;
}
template <class W>
named values_of(W& w) {
  return by_name(w, w.values());
}
template <class W>
named grads_of(W& w) {
  return by_name(w, w.grads());
}

/// Fills every parameter with noise (biases and noise projections too, which start at zero) and packs again.
template <class W>
void randomise_parameters(W& w, std::uint64_t seed, double scale = 0.5) {
  for (const auto& e : w.entries())
    for (index i = 0; i < e.size; ++i) {
      auto& x = w.values().ptr[0][e.offset + i];
      x = number<std::remove_reference_t<decltype(x)>>(
          scale * noise(seed ^ polymoe::stream_id(e.name), static_cast<std::uint64_t>(i)));
    }
  w.refresh();
}
template <class W>
void set_parameter(W& w, const std::string& name, const std::vector<double>& x) {
  for (const auto& e : w.entries())
    if (e.name == name) {
      REQUIRE(static_cast<index>(x.size()) == e.size);
      for (index i = 0; i < e.size; ++i) {
        auto& v = w.values().ptr[0][e.offset + i];
        v = number<std::remove_reference_t<decltype(v)>>(x[static_cast<std::size_t>(i)]);
      }
      w.refresh();
      return;
    }
  FAIL("no parameter " << name);
}

/// |a - b| / |b| over all numbers; |a| when b is zero.
inline double norm_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double diff = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) diff += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
  return size > 0 ? std::sqrt(diff / size) : std::sqrt(diff);
}

/// What the plan decided, as far as derivatives are concerned: who computes, and in which slot.
template <class Plan>
std::vector<int> decisions(const Plan& p) {
  std::vector<int> d;
  if constexpr (requires { p.slot_of; }) {  // a dense plan decides nothing
    if (!p.slot_of) return d;
    if (p.slots_begin) return {p.token, p.token + p.begin[p.all_experts]};
    d.assign(p.slot_of, p.slot_of + index{p.tokens} * p.k);
    d.insert(d.end(), p.expert_of, p.expert_of + index{p.tokens} * p.k);
  }
  return d;
}

/// True when f() throws polymoe::error whose text has every one of `parts`.
template <class F>
bool refuses(F f, std::initializer_list<const char*> parts) {
  try {
    f();
  } catch (const polymoe::error& e) {
    for (const char* p : parts)
      if (std::string(e.what()).find(p) == std::string::npos) {
        MESSAGE("message was: " << e.what());
        return false;
      }
    return true;
  }
  MESSAGE("nothing was thrown");
  return false;
}

}  // namespace moe_test
