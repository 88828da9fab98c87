// Activation functions: a value and a derivative, one text for every scalar type and for kernels.
//
// An activation is an empty functor with `S operator()(S x)` and `S grad(S x)` = d act / dx.  The float versions are
// branch-free, so loops over them become vector code.
#pragma once

#include "../core/math.hpp"

namespace polymoe::inline v0 {
namespace detail {

/// 1 / (1 + e^{-x}).
template <class S>
POLYMOE_HD POLYMOE_ALWAYS_INLINE S gate(S x) {
  return math::sigmoid(x);
}
#if !defined(__CUDA_ARCH__)
/// In float on the CPU the gate is 1 above 64 and 0 below -64: no denormal numbers, and half the instructions of `exp`.
/// NaN counts as a large number; every activation multiplies by x, which brings it back.  The bound is put on the bits,
/// as an integer minimum, because compilers split a float comparison into slow paths.
template <>
POLYMOE_ALWAYS_INLINE float gate<float>(float x) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(-x), size = bits & 0x7fffffffu, most = 0x42800000u;
  const float z = bit_cast<float>((size < most ? size : most) | (bits & 0x80000000u));
  // Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low bits.
  const float shifted = z * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float p = math::exp_of_rest(z, n);
  const float y = 1.0f / (1.0f + p * bit_cast<float>((bit_cast<std::uint32_t>(shifted) + 127u) << 23));
  const std::uint32_t keep = size < most || bits >> 31 ? 0xffffffffu : 0u;
  return bit_cast<float>(bit_cast<std::uint32_t>(y) & keep);
}
#endif

}  // namespace detail

namespace act {

/// GELU by its tanh form: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks & Gimpel 2016), computed as
/// x sigmoid(2u), which needs one exponential and keeps the digits of the negative tail.
struct gelu_tanh {
  static constexpr const char* name = "gelu_tanh";
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S operator()(S x) const {
    return x * detail::gate(x * (S(1.5957691216057308) + S(0.071354816272600247) * (x * x)));
  }
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S grad(S x) const {
    const S z = x * x;
    const S s = detail::gate(x * (S(1.5957691216057308) + S(0.071354816272600247) * z));
    return s + x * s * (S(1) - s) * (S(1.5957691216057308) + S(0.21406444881780074) * z);
  }
};

/// GELU: x Phi(x) (Hendrycks & Gimpel 2016).
struct gelu_erf {
  static constexpr const char* name = "gelu_erf";
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S operator()(S x) const {
    return x * (S(0.5) + S(0.5) * math::erf(x * S(0.70710678118654752)));
  }
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S grad(S x) const {
    return S(0.5) + S(0.5) * math::erf(x * S(0.70710678118654752)) + x * math::normal_pdf(x);
  }
};

/// max(x, 0); the derivative at 0 is 0; NaN stays NaN.
struct relu {
  static constexpr const char* name = "relu";
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S operator()(S x) const {
    return x < S(0) ? S(0) : x;
  }
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S grad(S x) const {
    return x > S(0) ? S(1) : S(0);
  }
};

/// x sigmoid(x) (swish with beta 1).
struct silu {
  static constexpr const char* name = "silu";
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S operator()(S x) const {
    return x * detail::gate(x);
  }
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S grad(S x) const {
    const S s = detail::gate(x);
    return s * (S(1) + x * (S(1) - s));
  }
};

/// x: turns an MLP into two linear maps; useful in tests.
struct identity {
  static constexpr const char* name = "identity";
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S operator()(S x) const {
    return x;
  }
  template <class S>
  POLYMOE_HD POLYMOE_ALWAYS_INLINE S grad(S) const {
    return S(1);
  }
};

}  // namespace act
}  // namespace polymoe
