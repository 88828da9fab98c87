// What a router does to its own view of the input in training: jitter and dropout (score/gate_jitter.hpp,
// gate_dropout.hpp).
//
//   x'_td = x_td f_td,   f = (1 + eps (2 u - 1)) m / (1 - p)    u uniform in [0, 1), m 0 with probability p, else 1
//
// Only the router's products see x'; experts get x.  dW = d_z' x' and d_x_td = (d_z W)_td f_td.  The factors are never
// kept: element i = t D + d takes word i % 4 of the i / 4-th draw of a stream, so that forward and backward, any number
// of threads and any tile find the same.
#pragma once

#include "../core/rng.hpp"

namespace polymoe::inline v0 {

/// A router with a share `jitter` of its input as noise, or that drops a share `input_dropout` of it.
template <class Router>
concept jitters_input = requires(const Router r) { r.jitter; };
template <class Router>
concept drops_input = requires(const Router r) { r.input_dropout; };
template <class Router>
inline constexpr bool perturbs_input = jitters_input<Router> || drops_input<Router>;

/// The shares a router asks for, 0 where it has none.
struct input_shares {
  float jitter = 0, dropout = 0;
};
template <class Router>
input_shares input_shares_of(const Router& r) {
  input_shares s;
  if constexpr (jitters_input<Router>) s.jitter = r.jitter;
  if constexpr (drops_input<Router>) s.dropout = r.input_dropout;
  return s;
}

/// The factors of one call; 1 where nothing is to be done.
struct input_noise {
  float jitter = 0, dropout = 0;
  random_stream jitter_draw{}, dropout_draw{};

  input_noise() = default;
  /// `noise` is step_state::noise in training and 0 in evaluation: it multiplies the
  /// jitter, and turns dropout off at 0.
  POLYMOE_HD input_noise(input_shares s, float noise, random_stream j, random_stream d)
      : jitter(s.jitter * noise), dropout(noise != 0 ? s.dropout : 0.0f), jitter_draw(j), dropout_draw(d) {}

  POLYMOE_HD bool active() const { return jitter != 0 || dropout != 0; }
  /// Draws of elements 4 block .. 4 block + 3.
  struct draws {
    words4 jitter{}, dropout{};
  };
  POLYMOE_HD draws at(index block) const {
    draws d;
    if (jitter != 0) d.jitter = jitter_draw.bits(static_cast<std::uint64_t>(block));
    if (dropout != 0) d.dropout = dropout_draw.bits(static_cast<std::uint64_t>(block));
    return d;
  }
  /// The factor of an element by its word of either stream.
  template <class S>
  POLYMOE_HD S factor(std::uint32_t jitter_word, std::uint32_t dropout_word) const {
    S f(1);
    if (jitter != 0) f = S(1) + S(jitter) * S(2 * uniform(jitter_word) - 1);
    if (dropout != 0) {
      const S kept = f / (S(1) - S(dropout));
      f = uniform(dropout_word) < dropout ? S(0) : kept;
    }
    return f;
  }
  template <class S>
  POLYMOE_HD S factor(const draws& d, index i) const {
    return factor<S>(word(d.jitter, i), word(d.dropout, i));
  }
  /// x times the factor of element i.  A product also where the factor is 0: what is not finite stays so.
  template <class S>
  POLYMOE_HD S apply(S x, index i) const {
    return active() ? x * factor<S>(at(i / 4), i) : x;
  }

 private:
  POLYMOE_HD static std::uint32_t word(const words4& w, index i) {
    const std::uint32_t first = i & 1 ? w.b : w.a, second = i & 1 ? w.d : w.c;
    return i & 2 ? second : first;
  }
  /// In [0, 1).  24 bits are a signed number too, which vector code converts in one instruction.
  POLYMOE_HD static float uniform(std::uint32_t word) {
    return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-24f;
  }
};

/// The same members for routers that leave their input alone, at no cost.
struct no_input_noise {
  template <class S>
  POLYMOE_HD S apply(S x, index) const {
    return x;
  }
};

}  // namespace polymoe
