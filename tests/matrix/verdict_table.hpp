// Behind verdicts.hpp: the table, and the templates that fill it.  Included by verdicts*.cpp only.
#pragma once

#include <utility>

#include "verdicts.hpp"
// The CUDA backend's tag; its device code is not needed to ask for a verdict.
#include "executor/host_executor.hpp"

#include <polymoe/backend/cuda/backend.cuh>

namespace matrix::detail {

inline constexpr int unasked = -1;

/// Flat numbers of values, all axes one after another.
constexpr int first_of(int axis) {
  int n = 0;
  for (int i = 0; i < axis; ++i) n += sizes[i];
  return n;
}
inline constexpr int values = first_of(dimensions);
constexpr int flat(dimension d, int number) { return first_of(static_cast<int>(d)) + number; }

/// By two values and a completion; later completions are asked only while all before were refused.
struct pair_table {
  std::vector<signed char> said = std::vector<signed char>(static_cast<std::size_t>(values * values * ways), unasked);
  /// By one value and a completion.
  std::vector<signed char> alone = std::vector<signed char>(static_cast<std::size_t>(values * ways), unasked);
  signed char& cell(int a, int b, int way) { return said[static_cast<std::size_t>((a * values + b) * ways + way)]; }
};
pair_table& pairs();
std::vector<sample>& samples();

template <point P, class Numbers = std::make_index_sequence<dimensions>>
struct spec_of;
template <point P, std::size_t... I>
struct spec_of<P, std::index_sequence<I...>> {
  using type = composed<P[0], P[1], P[2], P[3], P[4], P[5], P[6], P[7], P[8]>;
  using backend = typename value<dimension::backend, P[9]>::type;
};
static_assert(dimensions == 10 && static_cast<int>(dimension::backend) == 9);

template <point P>
consteval verdict ask() {
  return support<typename spec_of<P>::type, typename spec_of<P>::backend>();
}

constexpr point with(point p, dimension d, int number) {
  p[static_cast<std::size_t>(d)] = number;
  return p;
}
/// Asks about one value in every completion.
template <dimension A, int I, int... Way>
void ask_alone(pair_table& t, std::integer_sequence<int, Way...>) {
  ((t.alone[static_cast<std::size_t>(flat(A, I) * ways + Way)] =
        static_cast<signed char>(ask<with(completion(Way), A, I)>())),
   ...);
}

/// Asks about (a, b) in one completion after the other, until one is supported.
template <dimension A, int I, dimension B, int J, int Way = 0>
void ask_pair(pair_table& t) {
  constexpr verdict v = ask<with(with(completion(Way), A, I), B, J)>();
  t.cell(flat(A, I), flat(B, J), Way) = t.cell(flat(B, J), flat(A, I), Way) = static_cast<signed char>(v);
  if constexpr (v != verdict::ok && Way + 1 < ways) ask_pair<A, I, B, J, Way + 1>(t);
}
template <dimension A, dimension B>
void ask_axes(pair_table& t) {
  constexpr int n = sizes[static_cast<int>(A)], m = sizes[static_cast<int>(B)];
  [&]<int... IJ>(std::integer_sequence<int, IJ...>) { (ask_pair<A, IJ / m, B, IJ % m>(t), ...); }
  (std::make_integer_sequence<int, n * m>{});
}
/// A with every axis after it.
template <dimension A>
void ask_after(pair_table& t) {
  constexpr int first = static_cast<int>(A) + 1;
  [&]<int... D>(std::integer_sequence<int, D...>) { (ask_axes<A, static_cast<dimension>(first + D)>(t), ...); }
  (std::make_integer_sequence<int, dimensions - first>{});
}

// Filled by one source each, so that they are compiled side by side.
void fill_router_pairs(pair_table&);
void fill_other_pairs(pair_table&);
void fill_alone(pair_table&);
void fill_samples(std::vector<sample>&);

}  // namespace matrix::detail
