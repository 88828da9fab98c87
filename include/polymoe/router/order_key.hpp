// Keys that sort units or choices by priority: groups one after another, larger scores first, and a stable sort does
// the rest (equal scores keep the lower id).
#pragma once

#include "../core/dtype.hpp"

namespace polymoe::inline v0 {

/// Unsigned numbers in the opposite order of the floats: a larger score has the smaller key.  -0 and +0 are equal.  No
/// finite score has the largest key, which is left to units without a score.
POLYMOE_HD constexpr std::uint32_t descending_key(float score) {
  const auto bits = __builtin_bit_cast(std::uint32_t, score == 0.0f ? 0.0f : score);
  return ~((bits >> 31) != 0 ? ~bits : bits | 0x80000000u);
}
POLYMOE_HD constexpr std::uint64_t descending_key(double score) {
  const auto bits = __builtin_bit_cast(std::uint64_t, score == 0.0 ? 0.0 : score);
  return ~((bits >> 63) != 0 ? ~bits : bits | 0x8000000000000000ull);
}

/// True when the group fits above the score in one 64-bit key; double scores need a second sort by group.
template <class C>
inline constexpr bool group_in_key = sizeof(C) == 4;

/// The 64-bit key of a score (of nothing: `present` false, after all scores of its group).
template <class C>
POLYMOE_HD constexpr std::uint64_t order_key(C score, bool present, int group) {
  if constexpr (group_in_key<C>) {
    const std::uint32_t low = present ? descending_key(score) : 0xffffffffu;
    return std::uint64_t{static_cast<std::uint32_t>(group)} << 32 | low;
  } else {
    return present ? descending_key(score) : ~std::uint64_t{0};
  }
}
/// Bits that tell `groups` groups apart.
POLYMOE_HD constexpr int group_bits(int groups) {
  int bits = 0;
  while (bits < 31 && (1 << bits) < groups) ++bits;
  return bits;
}

}  // namespace polymoe
