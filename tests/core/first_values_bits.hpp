// The bits of many first values as two numbers.  Compared in builds that join products and sums (-O1 and above on a
// processor with fused multiply-adds) and in builds that do not: they are the same on every machine.
#pragma once

#include <cstdint>

#include <doctest/doctest.h>
#include <polymoe/core/first_values.hpp>

namespace polymoe {

inline constexpr std::uint64_t no_bits = 0xcbf29ce484222325ull;
inline std::uint64_t mixed_bits(std::uint64_t all, std::uint64_t x) { return (all ^ x) * 0x100000001b3ull; }

inline std::uint64_t bits_of_first_values(const init_rule& rule) {
  const first_value value(param_entry{"blocks.0.weight", {1}, 0, 1, rule}, 5);
  std::uint64_t all = no_bits;
  for (std::uint64_t i = 0; i < 65536; ++i)
    all = mixed_bits(all, bit_cast<std::uint32_t>(static_cast<float>(value(i))));
  return all;
}
inline void check_bits_of_first_values() {
  CHECK(bits_of_first_values(init_rule::normal(0.02)) == 9461956269928160625ull);
  CHECK(bits_of_first_values(init_rule::uniform(0.1)) == 5607432129850594622ull);
  std::uint64_t orthogonal = no_bits;
  for (const index rows : {24, 60})
    for (const double x : orthogonal_values({"router.weight", {rows, 37}, 0, rows * 37, init_rule::orthogonal(0.1)}, 5))
      orthogonal = mixed_bits(orthogonal, bit_cast<std::uint64_t>(x));
  CHECK(orthogonal == 697569994028311678ull);
}

}  // namespace polymoe
