// The sizes at which CUDA is compared with the CPU, in one place, and what such a comparison is made of.
//
// The reference is the CPU backend in double.  Inputs and parameters are numbers that every type holds, so each type is
// compared with the same reference: plans apart, on units whose margin is larger than what rounding can move; all else
// with the reference's plan, which is brought to the device.  On a GPU all sizes run, under the executor a few.
#pragma once

#if !defined(__CUDACC__)
#include "host_blaslt.hpp"
#endif
#include "tensors.hpp"

#include <algorithm>
#include <array>
#include <polymoe/cuda.cuh>
#include <polymoe/plan/invariants.hpp>
#include <thread>

namespace matrix {

using namespace polymoe::executor_test;
using polymoe::bf16;
using polymoe::compute_t;
using polymoe::cpu;
using polymoe::cuda;
using polymoe::index;
using polymoe::master_t;
using polymoe::sparse_plan;
using polymoe::view;

inline constexpr int tokens[] = {0, 1, 63, 65, 8191, 8192, 8193};
inline constexpr int widths[] = {192, 200, 384, 1000};
inline constexpr int experts[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14, 15,
                                  16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257};

struct size {
  int T = 0, E = 1, D = 192;
  bool hot = false;  ///< all units like expert 0, so that it overflows and others are empty
};

/// Every pair of two axes: each number of experts with each number of units, widths in turn.
inline std::vector<size> whole() {
  std::vector<size> all;
  int i = 0;
  for (const int E : experts) {
    int j = i++;
    for (const int T : tokens) all.push_back({T, E, widths[j % 4], j % 3 == 0}), ++j;
  }
  return all;
}
/// For the executor: every number of units up to 65, every width, every tier of the router.  Products of many experts
/// with rows are left out where they take seconds.
inline std::vector<size> some(bool products) {
  if (products)
    return {{0, 17, 384, false}, {1, 257, 192, false}, {63, 9, 200, true}, {65, 3, 1000, false}, {1, 65, 192, true}};
  return {{0, 17, 192, false}, {1, 257, 1000, false}, {63, 33, 200, true}, {65, 257, 192, true}, {65, 9, 1000, false},
          {63, 1, 384, false}, {65, 1, 192, true},    {1, 65, 384, false}, {65, 2, 192, false},  {63, 129, 192, false}};
}
#if defined(__CUDACC__)
inline std::vector<size> sizes(bool) { return whole(); }
inline int threads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u)); }
#else
inline std::vector<size> sizes(bool products) { return some(products); }
inline int threads() { return 1; }
#endif

template <class T, int K>
struct spec_of : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<K>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::switch_loss, polymoe::balance::z_loss>;
  /// With one choice there is one case, a single expert: fewer kernels.
  static constexpr int most_experts = K == 1 ? 32 : polymoe::max_experts;
};

/// A routing alone; a workspace gives it memory.
template <class Spec, class B>
struct routing_module : polymoe::routing<Spec, B> {
  using polymoe::routing<Spec, B>::routing;
  static typename polymoe::routing<Spec, B>::config config(const size& s) {
    typename polymoe::routing<Spec, B>::config c;
    c.dim = s.D, c.experts = s.E, c.capacity.factor = 0.9f;
    return c;
  }
};

/// Normal draws that a bf16 holds.
template <class To>
void fill(std::vector<To>& v, std::uint64_t salt, double scale = 1) {
  const auto draw = polymoe::random_root{19}.stream(salt, 0);
  for (std::size_t i = 0; i < v.size(); ++i) {
    bf16 b;
    polymoe::store(b, static_cast<float>(scale * static_cast<double>(draw.normal(i))));
    polymoe::store(v[i], static_cast<compute_t<To>>(static_cast<float>(b)));
  }
}
template <class To, class From>
std::vector<To> converted(const std::vector<From>& from) {
  std::vector<To> to(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) polymoe::store(to[i], static_cast<compute_t<To>>(number(from[i])));
  return to;
}
template <class T>
view<T> rows_of(std::vector<T>& v, index rows, index cols) {
  return {v.data(), rows, cols};
}
template <class T>
view<const T> rows_of(const std::vector<T>& v, index rows, index cols) {
  return {v.data(), rows, cols};
}

/// One case in double on the CPU: its inputs and the plan they lead to.
template <int K>
struct reference {
  using Module = routing_module<spec_of<double, K>, cpu>;
  size s;
  std::vector<double> x, weight;
  double longest = 0;  ///< largest |w|^2 of an expert
  polymoe::workspace<Module> w;

  explicit reference(const size& z)
      : s(z),
        x(static_cast<std::size_t>(index{z.T} * z.D)),
        weight(static_cast<std::size_t>(index{z.E} * z.D)),
        w(Module(Module::config(z)), {.max_rows = z.T, .threads = threads(), .seed = 1}) {
    fill(x, 1), fill(weight, 2, 1 / std::sqrt(static_cast<double>(z.D)));
    if (s.hot) {
      for (index t = 0; t < s.T; ++t) x[static_cast<std::size_t>(t * s.D)] = 4;
      weight[0] = 1;
    }
    for (index e = 0; e < s.E; ++e) {
      double ww = 0;
      for (index d = 0; d < s.D; ++d) {
        const double v = weight[static_cast<std::size_t>(e * s.D + d)];
        ww += v * v;
      }
      longest = std::max(longest, ww);
    }
    set(w), w.refresh();
    w.module().forward(w.ctx(), rows_of(std::as_const(x), s.T, s.D), w.saved());
  }
  const sparse_plan<double>& plan() { return w.saved().plan; }

  /// Gives the router of a workspace its weight.
  template <class W>
  void set(W& to) const {
    auto values = to.values_on_host();
    for (const auto& e : to.entries())
      if (e.name == "weight")
        for (index i = 0; i < e.size; ++i)
          values[static_cast<std::size_t>(e.offset + i)] =
              static_cast<typename W::M>(weight[static_cast<std::size_t>(i)]);
    to.set_values(values);
  }
  /// How far apart the logits of unit t's choices and of the best expert that was not chosen are, in order.
  double margin(index t) {
    const double* l = w.saved().logits.row(t);
    std::array<double, K + 1> best;
    best.fill(-HUGE_VAL);
    for (int e = 0; e < s.E; ++e) {
      double v = l[e];
      for (double& b : best)
        if (v > b) std::swap(v, b);
    }
    double least = HUGE_VAL;
    for (int j = 0; j < K; ++j)
      least = std::min(least, best[static_cast<std::size_t>(j)] - best[static_cast<std::size_t>(j + 1)]);
    return least;
  }
  /// What rounding in a type of unit roundoff u can move the difference of two logits of unit t by: 16 u |x| |w|.
  double moved(index t, double u) const {
    double xx = 0;
    for (index d = 0; d < s.D; ++d) {
      const double v = x[static_cast<std::size_t>(t * s.D + d)];
      xx += v * v;
    }
    return 16 * u * std::sqrt(xx * longest);
  }
};

/// Plain functions: a macro per check and size would be most of the compile time.
inline void must(bool ok, const std::string& what) {
  if (!ok) FAIL(what);
}
inline void within(double off, double bound, const char* what) {
  if (!(off <= bound)) FAIL_CHECK(std::string(what), " is off by ", off, ", allowed is ", bound);
}

}  // namespace matrix
