// PNG images in memory (ISO/IEC 15948), for reports: 8 bits a channel, no interlace, compressed by zlib.
#pragma once

#include <zlib.h>

#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

namespace detail {
inline void png_word(std::string& out, std::uint32_t x) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(x >> shift & 0xFFu);
}
inline void png_chunk(std::string& out, const char* type, std::string_view body) {
  png_word(out, static_cast<std::uint32_t>(body.size()));
  const std::size_t start = out.size();
  out.append(type, 4).append(body);
  const auto* p = reinterpret_cast<const Bytef*>(out.data() + start);
  png_word(out, static_cast<std::uint32_t>(crc32_z(0, p, out.size() - start)));
}
}  // namespace detail

/// The PNG file of `pixels` `[height, width, channels]`, channels 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
/// Throws on other channel counts, empty images and sizes that do not fit `pixels`.
inline std::string encode_png(std::span<const std::uint8_t> pixels, index height, index width, int channels) {
  require(height > 0 && width > 0 && height < (1 << 20) && width < (1 << 20), "png: the image is ", height, "x", width);
  require(channels >= 1 && channels <= 4, "png: ", channels, " channels, expected 1 to 4");
  const index row = width * channels;
  require(static_cast<index>(pixels.size()) == height * row, "png: ", pixels.size(), " bytes, expected ", height, "x",
          width, "x", channels);

  // Each row starts with the number of its filter: 0 none, 1 difference to the left pixel, 2 to the pixel above.  The
  // row takes the one with the smallest sum of absolute differences.
  std::string raw;
  raw.reserve(static_cast<std::size_t>(height * (row + 1)));
  for (index y = 0; y < height; ++y) {
    const std::uint8_t* p = pixels.data() + y * row;
    const auto filtered = [&](int filter, index i) {
      const int left = i >= channels ? p[i - channels] : 0, up = y > 0 ? p[i - row] : 0;
      return static_cast<std::uint8_t>(p[i] - (filter == 1 ? left : filter == 2 ? up : 0));
    };
    int best = 0;
    index best_sum = -1;
    for (int f = 0; f < 3; ++f) {
      index sum = 0;
      for (index i = 0; i < row; ++i) sum += std::abs(static_cast<int>(static_cast<std::int8_t>(filtered(f, i))));
      if (best_sum < 0 || sum < best_sum) best = f, best_sum = sum;
    }
    raw += static_cast<char>(best);
    for (index i = 0; i < row; ++i) raw += static_cast<char>(filtered(best, i));
  }
  uLongf size = compressBound(static_cast<uLong>(raw.size()));
  std::string data(size, '\0');
  const int rc = compress2(reinterpret_cast<Bytef*>(data.data()), &size, reinterpret_cast<const Bytef*>(raw.data()),
                           static_cast<uLong>(raw.size()), 9);
  require(rc == Z_OK, "png: zlib error ", rc);
  data.resize(size);

  std::string head;
  detail::png_word(head, static_cast<std::uint32_t>(width));
  detail::png_word(head, static_cast<std::uint32_t>(height));
  constexpr char color_type[] = {0, 4, 2, 6};
  head += {8, color_type[channels - 1], 0, 0, 0};
  std::string out("\x89PNG\r\n\x1a\n", 8);
  detail::png_chunk(out, "IHDR", head);
  detail::png_chunk(out, "IDAT", data);
  detail::png_chunk(out, "IEND", {});
  return out;
}

/// Base64 with padding (RFC 4648, section 4).
inline std::string base64(std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](std::size_t k) -> unsigned {
      return i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u;
    };
    const unsigned w = at(0) << 16 | at(1) << 8 | at(2);
    out += digits[w >> 18];
    out += digits[w >> 12 & 63];
    out += i + 1 < bytes.size() ? digits[w >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? digits[w & 63] : '=';
  }
  return out;
}

}  // namespace polymoe
