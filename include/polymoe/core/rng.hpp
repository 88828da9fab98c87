// Counter-based random numbers: the n-th draw of a stream is a pure function of (seed, stream, step, index).
//
// There is no generator state to save, restore or share between threads; drawing again for a recompute gives the same
// numbers.  The generator is Philox4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// 2011).  Streams are named by the path of the module that draws ("blocks.2.moe.router.noise").
#pragma once

#include <string_view>

#include "math.hpp"

namespace polymoe::inline v0 {

/// Four 32-bit words: a counter, or one block of random bits.
struct words4 {
  std::uint32_t a, b, c, d;
};

/// The key of Philox4x32; every round has the next one.
struct philox_key {
  static constexpr int rounds = 10;
  std::uint32_t k0, k1;
  POLYMOE_HD constexpr void next() { k0 += 0x9E3779B9u, k1 += 0xBB67AE85u; }
};
/// One round of Philox4x32.
POLYMOE_HD constexpr words4 philox_round(const words4& w, const philox_key& k) {
  const std::uint64_t p = std::uint64_t{0xD2511F53u} * w.a;
  const std::uint64_t q = std::uint64_t{0xCD9E8D57u} * w.c;
  return {static_cast<std::uint32_t>(q >> 32) ^ w.b ^ k.k0, static_cast<std::uint32_t>(q),
          static_cast<std::uint32_t>(p >> 32) ^ w.d ^ k.k1, static_cast<std::uint32_t>(p)};
}
/// Ten rounds of Philox4x32.
POLYMOE_HD constexpr words4 philox(words4 w, std::uint32_t k0, std::uint32_t k1) {
  philox_key k{k0, k1};
  for (int round = 0; round < philox_key::rounds; ++round, k.next()) w = philox_round(w, k);
  return w;
}

/// Stable 64-bit name of a stream (FNV-1a).
constexpr std::uint64_t stream_id(std::string_view path) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char ch : path) h = (h ^ static_cast<unsigned char>(ch)) * 0x100000001b3ull;
  return h;
}

/// One named stream at one step: a trivially copyable value that kernels and threads may share.
struct random_stream {
  std::uint64_t key = 0;   ///< seed and stream name mixed
  std::uint64_t step = 0;  ///< optimiser step and micro-batch

  POLYMOE_HD constexpr words4 counter(std::uint64_t i) const {
    return {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), static_cast<std::uint32_t>(step),
            static_cast<std::uint32_t>(step >> 32)};
  }
  POLYMOE_HD constexpr philox_key first_key() const {
    return {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
  }
  POLYMOE_HD constexpr words4 bits(std::uint64_t i) const {
    const philox_key k = first_key();
    return philox(counter(i), k.k0, k.k1);
  }
  /// Uniform in [0, 1), 24 bits.
  POLYMOE_HD constexpr float uniform(std::uint64_t i) const {
    return static_cast<float>(bits(i).a >> 8) * 0x1p-24f;
  }
  /// Standard normal (Box-Muller on one Philox block).
  POLYMOE_HD float normal(std::uint64_t i) const {
    const auto b = bits(i);
    const float u = (static_cast<float>(b.a >> 8) + 1.0f) * 0x1p-24f;  // (0, 1]
    const float v = static_cast<float>(b.b >> 8) * 0x1p-24f;
    return math::sqrt(-2.0f * math::log(u)) * math::cos_turns(v);
  }
  /// Uniform integer in [0, n).
  POLYMOE_HD constexpr std::uint32_t below(std::uint64_t i, std::uint32_t n) const {
    return static_cast<std::uint32_t>((std::uint64_t{bits(i).c} * n) >> 32);
  }
};

/// The seed of a run; makes streams by name.
struct random_root {
  std::uint64_t seed = 0;
  POLYMOE_HD constexpr random_stream stream(std::uint64_t id, std::uint64_t step) const {
    const auto m =
        philox({static_cast<std::uint32_t>(id), static_cast<std::uint32_t>(id >> 32), 0x706f6c79u, 0x6d6f65u},
               static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
    return {std::uint64_t{m.a} | std::uint64_t{m.b} << 32, step};
  }
};

}  // namespace polymoe
