// XXH64, written after its public specification (Collet, "xxHash fast digest algorithm", version 0.1.1): the checksum
// of checkpoints and of parameter buffers.  It finds damage, not forgery.
#pragma once

#include <bit>
#include <cstring>
#include <string>

#include "../core/config.hpp"

namespace polymoe::inline v0 {

namespace detail {
struct xxh64_steps {
  static constexpr std::uint64_t p1 = 0x9E3779B185EBCA87ull, p2 = 0xC2B2AE3D27D4EB4Full, p3 = 0x165667B19E3779F9ull,
                                 p4 = 0x85EBCA77C2B2AE63ull, p5 = 0x27D4EB2F165667C5ull;

  template <class W>
  static std::uint64_t load(const unsigned char* p) {
    static_assert(std::endian::native == std::endian::little, "polymoe: file formats assume a little-endian machine");
    W w;
    std::memcpy(&w, p, sizeof w);
    return w;
  }
  static std::uint64_t round(std::uint64_t acc, std::uint64_t lane) { return std::rotl(acc + lane * p2, 31) * p1; }
  static std::uint64_t merge(std::uint64_t acc, std::uint64_t lane) { return (acc ^ round(0, lane)) * p1 + p4; }
};
}  // namespace detail

/// 64-bit digest of `bytes` bytes; `data` may be null when there are none.
inline std::uint64_t xxh64(const void* data, std::size_t bytes, std::uint64_t seed = 0) {
  using s = detail::xxh64_steps;
  const auto* p = static_cast<const unsigned char*>(data);
  std::size_t left = bytes;
  std::uint64_t h = seed + s::p5;
  if (left >= 32) {
    std::uint64_t a = seed + s::p1 + s::p2, b = seed + s::p2, c = seed, d = seed - s::p1;
    for (; left >= 32; left -= 32, p += 32) {
      a = s::round(a, s::load<std::uint64_t>(p));
      b = s::round(b, s::load<std::uint64_t>(p + 8));
      c = s::round(c, s::load<std::uint64_t>(p + 16));
      d = s::round(d, s::load<std::uint64_t>(p + 24));
    }
    h = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
    h = s::merge(s::merge(s::merge(s::merge(h, a), b), c), d);
  }
  h += bytes;
  for (; left >= 8; left -= 8, p += 8) h = std::rotl(h ^ s::round(0, s::load<std::uint64_t>(p)), 27) * s::p1 + s::p4;
  for (; left >= 4; left -= 4, p += 4) h = std::rotl(h ^ (s::load<std::uint32_t>(p) * s::p1), 23) * s::p2 + s::p3;
  for (; left >= 1; left -= 1, p += 1) h = std::rotl(h ^ (*p * s::p5), 11) * s::p1;
  h = (h ^ (h >> 33)) * s::p2;
  h = (h ^ (h >> 29)) * s::p3;
  return h ^ (h >> 32);
}

/// Sixteen lower-case hexadecimal digits.
inline std::string hex64(std::uint64_t h) {
  std::string s(16, '0');
  for (int i = 15; i >= 0; --i, h >>= 4) s[static_cast<std::size_t>(i)] = "0123456789abcdef"[h & 15];
  return s;
}

}  // namespace polymoe
