// First values of parameters: one text for the CPU and for kernels, the same bits on every machine.
//
// The draws of random_stream may differ in their last bit between instruction sets and backends, because compilers join
// products and sums as they like and GPUs have a logarithm of their own.  Where a model starts shall not depend on
// that, so the fused multiply-adds are written out here.  Uniform draws are exact anyway.
#pragma once

#include "param.hpp"

namespace polymoe::inline v0 {

namespace detail {
POLYMOE_ALWAYS_INLINE POLYMOE_HD float fused(float a, float b, float c) { return ::fmaf(a, b, c); }

/// log(x) for normal x > 0: math::log's polynomial.
POLYMOE_HD inline float fused_log(float x) {
  const std::int32_t shifted = bit_cast<std::int32_t>(x) - 0x3f3504f3;
  const float e = static_cast<float>(shifted >> 23);
  const float m = bit_cast<float>((shifted & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = fused(p, m, -1.1514610310e-1f);
  p = fused(p, m, 1.1676998740e-1f);
  p = fused(p, m, -1.2420140846e-1f);
  p = fused(p, m, 1.4249322787e-1f);
  p = fused(p, m, -1.6668057665e-1f);
  p = fused(p, m, 2.0000714765e-1f);
  p = fused(p, m, -2.4999993993e-1f);
  p = fused(p, m, 3.3333331174e-1f);
  float y = fused(-e, 2.12194440e-4f, p * m * z);
  y = fused(-0.5f, z, y);
  return fused(e, 0.693359375f, m + y);
}
/// math::cos_turns.
POLYMOE_HD inline float fused_cos_turns(float v) {
  const float w = (v < 0.5f ? 0.5f - v : v - 0.5f) - 0.25f;
  const float a = w * 6.28318531f, z = a * a;
  float p = -2.50521084e-8f;
  p = fused(p, z, 2.75573192e-6f);
  p = fused(p, z, -1.98412698e-4f);
  p = fused(p, z, 8.33333333e-3f);
  p = fused(p, z, -1.66666667e-1f);
  return fused(a * z, p, a);
}
}  // namespace detail

/// The i-th standard normal number of a stream: random_stream::normal with the same bits everywhere.
POLYMOE_HD inline float first_normal(const random_stream& r, std::uint64_t i) {
  const words4 b = r.bits(i);
  const float u = (static_cast<float>(b.a >> 8) + 1.0f) * 0x1p-24f;  // (0, 1]
  const float v = static_cast<float>(b.b >> 8) * 0x1p-24f;
  return math::sqrt(-2.0f * detail::fused_log(u)) * detail::fused_cos_turns(v);
}

/// The first value of element i of a tensor: (*this)(i).
struct first_value {
  init_rule::kind how = init_rule::kind::zeros;
  double scale = 0;
  random_stream draw;

  first_value() = default;
  /// Each tensor has a stream of its own, so no two are alike and none depends on the order of declarations; except
  /// those that are asked to be alike (param_entry::draws_as).
  first_value(const param_entry& e, std::uint64_t seed)
      : how(e.init.how),
        scale(e.init.scale),
        draw(random_root{seed}.stream(stream_id(e.draws_as.empty() ? e.name : e.draws_as), 0)) {}

  POLYMOE_HD double operator()(std::uint64_t i) const {
    switch (how) {
      case init_rule::kind::constant:
        return scale;
      case init_rule::kind::normal:
        return scale * static_cast<double>(first_normal(draw, i));
      case init_rule::kind::uniform:
        return scale * (2.0 * static_cast<double>(draw.uniform(i)) - 1.0);
      default:
        return 0;
    }
  }
};

/// Fills parameters in the host's memory with their first values.
template <class M>
void initialise(const std::vector<param_entry>& entries, view<M> values, std::uint64_t seed) {
  for (const param_entry& e : entries) {
    const first_value value(e, seed);
    for (index i = 0; i < e.size; ++i)
      values.set(0, e.offset + i, compute_t<M>(static_cast<real_t<M>>(value(static_cast<std::uint64_t>(i)))));
  }
}

}  // namespace polymoe
