// Elementary functions for every compute type, found by argument-dependent or namespace lookup.
//
// On the CPU the float versions of exp, log, log1p, tanh and erf are branch-free, so loops over rows become vector code
// and give the same bits in a vector lane as alone.  Worst errors over the normal range, against double:
// exp 3 ulp, log 2 ulp, tanh 2 ulp, erf 5e-7 absolute (tests/core/math_test.cpp measures them).
#pragma once

#include <cmath>

#include "dual.hpp"

namespace polymoe::inline v0 {
namespace math {

POLYMOE_ALWAYS_INLINE POLYMOE_HD double exp(double x) { return ::exp(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD double log(double x) { return ::log(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD double log1p(double x) { return ::log1p(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD double sqrt(double x) { return ::sqrt(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD double tanh(double x) { return ::tanh(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD double erf(double x) { return ::erf(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD double erfc(double x) { return ::erfc(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD double abs(double x) { return x < 0 ? -x : x; }

#if defined(__CUDA_ARCH__)
POLYMOE_ALWAYS_INLINE POLYMOE_HD float exp(float x) { return ::expf(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD float tanh(float x) { return ::tanhf(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD float erf(float x) { return ::erff(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD float log(float x) { return ::logf(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD float log1p(float x) { return ::log1pf(x); }
#else
/// e^(x - n ln 2) for a whole n that leaves at most ln(2) / 2 of x: ln 2 in two parts, a polynomial of degree 6.  V is
/// float or a vector of floats.
template <class V>
POLYMOE_ALWAYS_INLINE POLYMOE_HD V exp_of_rest(V x, V n) {
  V r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  V p = 1.3981999507e-3f * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * r * r + r + 1.0f;
}
/// e^x in float: exp_of_rest, exponent bits added.
POLYMOE_ALWAYS_INLINE POLYMOE_HD float exp(float x) {
  const float clamped = x > 88.72283f ? 88.72283f : (x < -104.0f ? -104.0f : x);
  const float n = ::nearbyintf(clamped * 1.44269504f);
  const float p = exp_of_rest(clamped, n);
  // Two steps, so that results in the denormal range are rounded instead of wrapping.
  const int i = static_cast<int>(n);
  const int half = i / 2;
  const float s1 = bit_cast<float>(static_cast<std::uint32_t>(half + 127) << 23);
  const float s2 = bit_cast<float>(static_cast<std::uint32_t>(i - half + 127) << 23);
  float y = p * s1 * s2;
  y = x > 88.72283f ? __builtin_inff() : y;
  return x != x ? x : y;
}
/// tanh(x) = 1 - 2 / (e^{2x} + 1), with the odd series near zero where that form loses digits.
POLYMOE_ALWAYS_INLINE POLYMOE_HD float tanh(float x) {
  const float a = x < 0 ? -x : x;
  const float big = 1.0f - 2.0f / (math::exp(2.0f * a) + 1.0f);
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = p * z * a + a;
  const float y = a < 0.625f ? small : big;
  return x < 0 ? -y : (x != x ? x : y);
}
/// erf in float (Abramowitz and Stegun 7.1.26 is too coarse; this is a rational fit on |x| < 3.92, 1 beyond).
POLYMOE_ALWAYS_INLINE POLYMOE_HD float erf(float x) {
  const float c = x > 3.92f ? 3.92f : (x < -3.92f ? -3.92f : x);
  const float z = c * c;
  float p = -2.72614225801306e-10f;
  p = p * z + 2.77068142495902e-08f;
  p = p * z - 2.10102402082508e-06f;
  p = p * z - 5.69250639462346e-05f;
  p = p * z - 7.34990630326855e-04f;
  p = p * z - 2.95459980854025e-03f;
  p = p * z - 1.60960333262415e-02f;
  float q = -1.45660718464996e-05f;
  q = q * z - 2.13374055278905e-04f;
  q = q * z - 1.68282697438203e-03f;
  q = q * z - 7.37332916720468e-03f;
  q = q * z - 1.42647390514189e-02f;
  const float y = c * p / q;
  return x != x ? x : y;
}
/// log(x) in float: x = 2^e m with m in [sqrt(1/2), sqrt(2)), a degree 9 polynomial of m - 1 (coefficients of the
/// Cephes library, Moshier 1992), e ln 2 added in two parts.
POLYMOE_ALWAYS_INLINE POLYMOE_HD float log(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const float normal = tiny ? x * 8388608.0f : x;
  // 0x3f3504f3 is sqrt(1/2): what the exponent field holds after subtracting it is e.
  const std::int32_t shifted = bit_cast<std::int32_t>(normal) - 0x3f3504f3;
  const float e = static_cast<float>(shifted >> 23) - (tiny ? 23.0f : 0.0f);
  const float m = bit_cast<float>((shifted & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  float y = p * m * z;
  y = y - e * 2.12194440e-4f;
  y = y - 0.5f * z;
  y = m + y + e * 0.693359375f;
  y = x > 3.40282347e38f ? x : y;
  y = x == 0.0f ? -__builtin_inff() : y;
  return x < 0.0f || x != x ? __builtin_nanf("") : y;
}
/// log(1 + x) as log(u) x / (u - 1) with u = 1 + x rounded, which takes back the rounding of u.
POLYMOE_ALWAYS_INLINE POLYMOE_HD float log1p(float x) {
  const float u = 1.0f + x, d = u - 1.0f;
  const float y = math::log(u) * (x / d);
  return d == 0.0f || x > 3.40282347e38f ? x : y;
}
#endif
POLYMOE_ALWAYS_INLINE POLYMOE_HD float sqrt(float x) { return ::sqrtf(x); }
POLYMOE_ALWAYS_INLINE POLYMOE_HD float erfc(float x) { return ::erfcf(x); }
/// cos(2 pi v) for v in [0, 1], to 2e-7: what a normal draw needs.  Branch-free, the same text on every backend.
POLYMOE_ALWAYS_INLINE POLYMOE_HD float cos_turns(float v) {
  // cos(2 pi v) = sin(2 pi w) with w = |v - 1/2| - 1/4 in [-1/4, 1/4]; the odd series of sin.
  const float w = (v < 0.5f ? 0.5f - v : v - 0.5f) - 0.25f;
  const float a = w * 6.28318531f, z = a * a;
  float p = -2.50521084e-8f;
  p = p * z + 2.75573192e-6f;
  p = p * z - 1.98412698e-4f;
  p = p * z + 8.33333333e-3f;
  p = p * z - 1.66666667e-1f;
  return a + a * z * p;
}
POLYMOE_ALWAYS_INLINE POLYMOE_HD float abs(float x) { return x < 0 ? -x : x; }

template <class T>
POLYMOE_HD dual<T> exp(dual<T> x) {
  const T e = math::exp(x.v);
  return {e, e * x.t};
}
template <class T>
POLYMOE_HD dual<T> log(dual<T> x) {
  return {math::log(x.v), x.t / x.v};
}
template <class T>
POLYMOE_HD dual<T> log1p(dual<T> x) {
  return {math::log1p(x.v), x.t / (T(1) + x.v)};
}
template <class T>
POLYMOE_HD dual<T> sqrt(dual<T> x) {
  const T s = math::sqrt(x.v);
  return {s, x.t / (T(2) * s)};
}
template <class T>
POLYMOE_HD dual<T> tanh(dual<T> x) {
  const T y = math::tanh(x.v);
  return {y, (T(1) - y * y) * x.t};
}
template <class T>
POLYMOE_HD dual<T> erf(dual<T> x) {
  return {math::erf(x.v), T(1.1283791670955126) * math::exp(-x.v * x.v) * x.t};
}
template <class T>
POLYMOE_HD dual<T> abs(dual<T> x) {
  return x.v < T(0) ? -x : x;
}

/// 1 / (1 + e^{-x}), without overflow on either side.
template <class T>
POLYMOE_HD POLYMOE_ALWAYS_INLINE T sigmoid(T x) {
  return T(1) / (T(1) + math::exp(-x));
}
/// log(1 + e^x), exact for large |x|.
template <class T>
POLYMOE_HD T softplus(T x) {
  // Two forms instead of one with |x|, whose tangent at 0 (where learned noise starts) would have the wrong sign.
  return x > T(0) ? x + math::log1p(math::exp(-x)) : math::log1p(math::exp(x));
}
/// Standard normal distribution function.
template <class T>
POLYMOE_HD T normal_cdf(T x) {
  return T(0.5) * (T(1) + math::erf(x * T(0.70710678118654752)));
}
/// Standard normal density.
template <class T>
POLYMOE_HD POLYMOE_ALWAYS_INLINE T normal_pdf(T x) {
  return T(0.39894228040143268) * math::exp(T(-0.5) * x * x);
}
/// True when neither the value nor, for dual numbers, the tangent is infinite or NaN.
template <class T>
POLYMOE_HD bool is_finite(T x) {
  if constexpr (is_dual<T>)
    return math::is_finite(x.v) && math::is_finite(x.t);
  else
    return x - x == T(0);
}

}  // namespace math
}  // namespace polymoe
