// Damaged PNG and JPEG files.
// sanitize: yes
// timeout: 900
#include <cstdio>

#include <polymoe/train/decode_image.hpp>
#include <polymoe/train/png.hpp>

#include "fuzz/mutate.hpp"
#include "train/jpeg_file.hpp"

#if defined(POLYMOE_WITH_PNG) && defined(POLYMOE_WITH_JPEG)

namespace {

/// 12 x 17 pixels of moderate quality.
fuzz::bytes jpeg(int channels) {
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 12 * 17 * channels; ++i) pixels.push_back(static_cast<std::uint8_t>(7 * i));
  return jpeg_of(pixels, 12, 17, channels, 75);
}
/// Accepted pixels are as many as the sizes say, and all can be read.
std::string wrong_image(const fuzz::bytes& x) {
  const std::vector<std::uint8_t> exact(x.begin(), x.end());
  const auto d = polymoe::decode_image(exact, "picture");
  if (static_cast<polymoe::index>(d.pixels.size()) != d.height * d.width * d.channels)
    return "sizes and pixels disagree";
  if (d.channels != 1 && d.channels != 3) return "channels";
  unsigned sum = 0;
  for (const std::uint8_t p : d.pixels) sum += p;
  return sum > 255u * d.pixels.size() ? "pixels" : "";
}

}  // namespace

TEST_CASE("PNG files") {
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 11 * 9 * 3; ++i) pixels.push_back(static_cast<std::uint8_t>(i * 5));
  const std::vector<std::uint8_t> grey(pixels.begin(), pixels.begin() + 99);
  fuzz::check("png", {polymoe::encode_png(pixels, 9, 11, 3), polymoe::encode_png(grey, 9, 11, 1)}, wrong_image);
}
TEST_CASE("JPEG files") { fuzz::check("jpeg", {jpeg(3), jpeg(1)}, wrong_image); }

#else
TEST_CASE("pictures need libpng and libjpeg") { std::printf("SKIPPED: built without libpng or libjpeg\n"); }
#endif
