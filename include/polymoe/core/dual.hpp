// dual<T>: a value and its derivative along one direction (forward-mode differentiation).
//
// Running forward and backward of a model over dual<T> gives, in the tangent plane of the gradients, an exact
// Hessian-vector product (forward over reverse).  Comparisons look at values only, so a router picks the same experts
// with and without tangents: selection is locally constant.
#pragma once

#include <cmath>

#include "dtype.hpp"

namespace polymoe::inline v0 {

template <class T>
struct dual {
  T v;  ///< value
  T t;  ///< tangent

  dual() = default;
  POLYMOE_HD constexpr dual(T value) : v(value), t(0) {}
  POLYMOE_HD constexpr dual(T value, T tangent) : v(value), t(tangent) {}
  template <class U>
    requires(std::is_arithmetic_v<U> && !std::is_same_v<U, T>)
  POLYMOE_HD constexpr dual(U value) : v(static_cast<T>(value)), t(0) {}

  POLYMOE_HD friend constexpr dual operator+(dual a, dual b) { return {a.v + b.v, a.t + b.t}; }
  POLYMOE_HD friend constexpr dual operator-(dual a, dual b) { return {a.v - b.v, a.t - b.t}; }
  POLYMOE_HD friend constexpr dual operator-(dual a) { return {-a.v, -a.t}; }
  POLYMOE_HD friend constexpr dual operator*(dual a, dual b) { return {a.v * b.v, a.t * b.v + a.v * b.t}; }
  POLYMOE_HD friend constexpr dual operator/(dual a, dual b) {
    const T q = a.v / b.v;
    return {q, (a.t - q * b.t) / b.v};
  }
  POLYMOE_HD constexpr dual& operator+=(dual b) { return *this = *this + b; }
  POLYMOE_HD constexpr dual& operator-=(dual b) { return *this = *this - b; }
  POLYMOE_HD constexpr dual& operator*=(dual b) { return *this = *this * b; }
  POLYMOE_HD constexpr dual& operator/=(dual b) { return *this = *this / b; }

  POLYMOE_HD friend constexpr bool operator<(dual a, dual b) { return a.v < b.v; }
  POLYMOE_HD friend constexpr bool operator>(dual a, dual b) { return a.v > b.v; }
  POLYMOE_HD friend constexpr bool operator<=(dual a, dual b) { return a.v <= b.v; }
  POLYMOE_HD friend constexpr bool operator>=(dual a, dual b) { return a.v >= b.v; }
  POLYMOE_HD friend constexpr bool operator==(dual a, dual b) { return a.v == b.v; }
};

template <class T>
POLYMOE_HD T value_of(dual<T> x) {
  return x.v;
}

}  // namespace polymoe
