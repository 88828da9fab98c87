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

/// The first value of element i of a tensor: (*this)(i).  Of an orthogonal one its normal numbers, of which
/// orthogonal_values() makes a whole tensor.
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
      case init_rule::kind::orthogonal:
        return static_cast<double>(first_normal(draw, i));
      case init_rule::kind::uniform:
        return scale * (2.0 * static_cast<double>(draw.uniform(i)) - 1.0);
      default:
        return 0;
    }
  }
};

namespace detail {
/// <a, b> in eight interleaved sums, added in order: one order of additions for every compiler.
inline double fused_dot(const double* a, const double* b, index n) {
  double lane[8] = {};
  index i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; ++j) lane[j] = std::fma(a[i + j], b[i + j], lane[j]);
  for (; i < n; ++i) lane[0] = std::fma(a[i], b[i], lane[0]);
  double sum = 0;
  for (const double x : lane) sum += x;
  return sum;
}
}  // namespace detail

/// A tensor [product of all dimensions but the last, last] whose rows are orthogonal and of length `scale`; its
/// columns, where they are fewer.  Each vector is one of normal numbers less its parts along those before it, so that
/// every rotation is as likely as any other, as with torch.nn.init.orthogonal_   (Saxe et al. 2014).  O(rows cols
/// min(rows, cols)).
inline std::vector<double> orthogonal_values(const param_entry& e, std::uint64_t seed) {
  const first_value value(e, seed);
  const index cols = e.dims.back(), rows = cols > 0 ? e.size / cols : 0;
  const bool wide = rows <= cols;
  const index n = wide ? rows : cols, length = wide ? cols : rows;
  std::vector<double> vectors, out(static_cast<std::size_t>(e.size));
  for (index i = 0; i < e.size; ++i) vectors.push_back(value(static_cast<std::uint64_t>(i)));
  for (index v = 0; v < n; ++v) {
    double* const own = vectors.data() + v * length;
    // Twice: what rounding left the first time is taken out the second.
    for (int pass = 0; pass < 2; ++pass) {
      for (index u = 0; u < v; ++u) {
        const double* const other = vectors.data() + u * length;
        const double along = detail::fused_dot(own, other, length);
        for (index i = 0; i < length; ++i) own[i] = std::fma(-along, other[i], own[i]);
      }
      const double size = std::sqrt(detail::fused_dot(own, own, length));
      for (index i = 0; i < length; ++i) own[i] /= size;
    }
  }
  for (index v = 0; v < n; ++v)
    for (index i = 0; i < length; ++i)
      out[static_cast<std::size_t>(wide ? v * cols + i : i * cols + v)] =
          e.init.scale * vectors[static_cast<std::size_t>(v * length + i)];
  return out;
}

/// Fills parameters in the host's memory with their first values.
template <class M>
void initialise(const std::vector<param_entry>& entries, view<M> values, std::uint64_t seed) {
  for (const param_entry& e : entries) {
    const first_value value(e, seed);
    std::vector<double> whole;
    if (e.init.how == init_rule::kind::orthogonal) whole = orthogonal_values(e, seed);
    for (index i = 0; i < e.size; ++i) {
      const double x = whole.empty() ? value(static_cast<std::uint64_t>(i)) : whole[static_cast<std::size_t>(i)];
      values.set(0, e.offset + i, compute_t<M>(static_cast<real_t<M>>(x)));
    }
  }
}

}  // namespace polymoe
