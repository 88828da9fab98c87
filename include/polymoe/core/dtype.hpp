// Scalar types: float, double, bf16 (storage only) and dual<T> (value and tangent, dual.hpp).
//
//   compute_t<T>   what arithmetic on elements of T is done in: float for bf16, T otherwise
//   master_t<T>    what parameters of a module over T are stored and trained in: float for bf16, T otherwise
//   storage_t<T>   the machine type of one memory plane: T, or T's real type for dual<T>
#pragma once

#include <type_traits>

#include "config.hpp"

namespace polymoe::inline v0 {

/// std::bit_cast that kernels may call too.
template <class To, class From>
POLYMOE_HD POLYMOE_ALWAYS_INLINE constexpr To bit_cast(const From& x) {
  static_assert(sizeof(To) == sizeof(From), "polymoe: bit_cast between types of different size");
  return __builtin_bit_cast(To, x);
}

/// bfloat16 as storage: 1 sign, 8 exponent and 7 mantissa bits.  Convert to float to compute.
struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  POLYMOE_HD explicit bf16(float x) : bits(round(x)) {}
  /// The nearest bf16, ties to even; NaN stays NaN.
  POLYMOE_HD POLYMOE_ALWAYS_INLINE static std::uint16_t round(float x) {
    const std::uint32_t u = bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const std::uint32_t quiet = (u >> 16) | 0x40u;
    return static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
  POLYMOE_HD explicit operator float() const { return bit_cast<float>(std::uint32_t{bits} << 16); }
};
/// to = x, converted.  For bf16 the bits are written as a number: compilers do not vectorise loops that assign structs.
template <class To, class From>
POLYMOE_HD POLYMOE_ALWAYS_INLINE void store(To& to, From x) {
  if constexpr (std::is_same_v<To, bf16>)
    to.bits = bf16::round(static_cast<float>(x));
  else
    to = static_cast<To>(x);
}
static_assert(sizeof(bf16) == 2, "polymoe: bf16 has to be two bytes, it is handed to libraries as raw memory");

template <class T>
struct dual;

namespace detail {
template <class T>
struct traits {
  using compute = T;
  using master = T;
  using storage = T;
  using real = T;
  static constexpr int planes = 1;
};
template <>
struct traits<bf16> {
  using compute = float;
  using master = float;
  using storage = bf16;
  using real = bf16;
  static constexpr int planes = 1;
};
template <class T>
struct traits<dual<T>> {
  using compute = dual<typename traits<T>::compute>;
  using master = dual<typename traits<T>::master>;
  using storage = T;
  using real = T;
  static constexpr int planes = 2;
};
template <class T>
struct traits<const T> : traits<T> {
  using storage = const typename traits<T>::storage;
};
}  // namespace detail

template <class T>
using compute_t = typename detail::traits<T>::compute;
template <class T>
using master_t = typename detail::traits<T>::master;
template <class T>
using storage_t = typename detail::traits<T>::storage;
/// The type of one plane's numbers, without const: float for dual<float>.
template <class T>
using real_t = typename detail::traits<std::remove_const_t<T>>::real;
/// 1, or 2 for dual<T>: how many memory planes a tensor of T has.
template <class T>
inline constexpr int plane_count = detail::traits<T>::planes;
template <class T>
inline constexpr bool is_dual = plane_count<T> == 2;

/// The number without its tangent: what comparisons and selections look at.
POLYMOE_HD inline float value_of(float x) { return x; }
POLYMOE_HD inline double value_of(double x) { return x; }
POLYMOE_HD inline float value_of(bf16 x) { return static_cast<float>(x); }

}  // namespace polymoe
