// PNG and JPEG files in memory to pixels, by libpng and libjpeg.
//
// Available where the libraries are (POLYMOE_WITH_PNG, POLYMOE_WITH_JPEG; CMake finds them); without one, its files are
// refused by name.  A damaged or truncated file is an error that says where: the libraries would otherwise fill the
// rest with grey.
#pragma once

#include <csetjmp>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "../core/error.hpp"

#if defined(POLYMOE_WITH_PNG)
#include <png.h>
#include <zlib.h>
#endif
#if defined(POLYMOE_WITH_JPEG)
#include <jpeglib.h>
#endif

namespace polymoe::inline v0 {

/// Pixels as files have them: rows from the top, channels side by side.
struct decoded_image {
  index height = 0, width = 0;
  int channels = 0;                  ///< 1 grey, 3 RGB
  std::vector<std::uint8_t> pixels;  ///< [height, width, channels]
};

namespace detail {

/// More would not be a picture of a data set, and 1 GiB of pixels is what a damaged header asks for.
inline constexpr index most_pixels = index{1} << 28;

inline bool is_png(std::span<const std::uint8_t> file) {
  static constexpr std::uint8_t mark[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  return file.size() >= 8 && std::equal(mark, mark + 8, file.begin());
}
inline bool is_jpeg(std::span<const std::uint8_t> file) {
  return file.size() >= 3 && file[0] == 0xFF && file[1] == 0xD8 && file[2] == 0xFF;
}

#if defined(POLYMOE_WITH_PNG)
/// Walks the chunks: lengths and check sums; throws at the first bad one.  libpng says less about where.
inline void check_png_chunks(std::span<const std::uint8_t> file, const std::string& name) {
  std::size_t at = 8;
  for (bool end = false; !end;) {
    require(file.size() - at >= 12, name, ": ends at byte ", file.size(), " inside a PNG chunk that begins at ", at);
    const auto word = [&](std::size_t i) {
      return std::uint32_t{file[i]} << 24 | std::uint32_t{file[i + 1]} << 16 | std::uint32_t{file[i + 2]} << 8 |
             std::uint32_t{file[i + 3]};
    };
    const std::size_t length = word(at);
    require(length <= file.size() - at - 12, name, ": the PNG chunk at byte ", at, " has ", length, " bytes, ",
            file.size() - at - 12, " are left");
    const auto sum = static_cast<std::uint32_t>(crc32_z(0, file.data() + at + 4, length + 4));
    require(sum == word(at + 8 + length), name, ": the check sum of the PNG chunk at byte ", at, " is wrong");
    end = std::equal(file.begin() + static_cast<std::ptrdiff_t>(at) + 4,
                     file.begin() + static_cast<std::ptrdiff_t>(at) + 8, "IEND");
    at += length + 12;
  }
}
inline decoded_image decode_png(std::span<const std::uint8_t> file, const std::string& name) {
  check_png_chunks(file, name);
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  require(png_image_begin_read_from_memory(&png, file.data(), file.size()) != 0, name, ": ", png.message);
  struct closer {
    png_image* p;
    ~closer() { png_image_free(p); }
  } close{&png};
  const index pixels = index{png.width} * index{png.height};
  require(pixels > 0 && pixels <= most_pixels, name, ": the image is ", png.height, "x", png.width, ", at most ",
          most_pixels, " pixels are read");
  decoded_image out;
  out.height = png.height, out.width = png.width;
  out.channels = png.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
  png.format = out.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  out.pixels.resize(static_cast<std::size_t>(pixels * out.channels));
  const png_color black{0, 0, 0};  // behind transparent pixels
  require(png_image_finish_read(&png, &black, out.pixels.data(), 0, nullptr) != 0 && png.warning_or_error < 2, name,
          ": ", png.message);
  return out;
}
#endif

#if defined(POLYMOE_WITH_JPEG)
/// libjpeg leaves by longjmp; nothing with a destructor may live between setjmp and here.
struct jpeg_failure {
  jpeg_error_mgr base;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];
};
[[noreturn]] inline void jpeg_leave(j_common_ptr c) {
  auto* f = reinterpret_cast<jpeg_failure*>(c->err);
  c->err->format_message(c, f->message);
  std::longjmp(f->back, 1);
}
/// A warning (level -1) is damage that libjpeg would paint over.
inline void jpeg_message(j_common_ptr c, int level) {
  if (level < 0) jpeg_leave(c);
}
/// Header into sizes; then, with a buffer, rows.  Returns false with f.message; no C++ objects inside.
inline bool read_jpeg(jpeg_decompress_struct& c, jpeg_failure& f, const std::uint8_t* file, std::size_t bytes,
                      std::uint8_t* pixels, index room, index* height, index* width, int* channels) {
  if (setjmp(f.back)) {
    *height = c.src ? static_cast<index>(bytes - c.src->bytes_in_buffer) : 0;  // where it stopped
    return false;
  }
  jpeg_mem_src(&c, file, static_cast<unsigned long>(bytes));
  jpeg_read_header(&c, TRUE);
  c.out_color_space = c.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  c.dct_method = JDCT_ISLOW;  // the same pixels with and without vector units
  *height = c.image_height, *width = c.image_width, *channels = c.num_components == 1 ? 1 : 3;
  if (!pixels) return true;
  jpeg_start_decompress(&c);
  const index row = static_cast<index>(c.output_width) * *channels;
  while (c.output_scanline < c.output_height) {
    if ((static_cast<index>(c.output_scanline) + 1) * row > room) return false;
    JSAMPROW to = pixels + static_cast<index>(c.output_scanline) * row;
    jpeg_read_scanlines(&c, &to, 1);
  }
  jpeg_finish_decompress(&c);
  return true;
}
inline decoded_image decode_jpeg(std::span<const std::uint8_t> file, const std::string& name) {
  decoded_image out;
  for (const bool whole : {false, true}) {
    jpeg_failure failure{};
    jpeg_decompress_struct c{};
    c.err = jpeg_std_error(&failure.base);
    c.err->error_exit = jpeg_leave, c.err->emit_message = jpeg_message;
    jpeg_create_decompress(&c);
    struct closer {
      jpeg_decompress_struct* p;
      ~closer() { jpeg_destroy_decompress(p); }
    } close{&c};
    index height = 0, width = 0;
    const bool ok = read_jpeg(c, failure, file.data(), file.size(), whole ? out.pixels.data() : nullptr,
                              static_cast<index>(out.pixels.size()), &height, &width, &out.channels);
    require(ok, name, ": ", failure.message, ", near byte ", height);
    require(height > 0 && width > 0 && height * width <= most_pixels, name, ": the image is ", height, "x", width,
            ", at most ", most_pixels, " pixels are read");
    out.height = height, out.width = width;
    out.pixels.resize(static_cast<std::size_t>(height * width * out.channels));
  }
  return out;
}
#endif

}  // namespace detail

/// The pixels of a PNG or JPEG file; which of the two, its first bytes say.  8 bits a channel; grey stays grey,
/// transparent pixels lie on black.  `name` is for messages.  Throws for other formats and for damage.
inline decoded_image decode_image(std::span<const std::uint8_t> file, const std::string& name) {
  if (detail::is_png(file)) {
#if defined(POLYMOE_WITH_PNG)
    return detail::decode_png(file, name);
#else
    detail::fail(name, ": this program was built without libpng and cannot read PNG files");
#endif
  }
  if (detail::is_jpeg(file)) {
#if defined(POLYMOE_WITH_JPEG)
    return detail::decode_jpeg(file, name);
#else
    detail::fail(name, ": this program was built without libjpeg and cannot read JPEG files");
#endif
  }
  detail::fail(name, ": neither a PNG nor a JPEG file (", file.size(), " bytes)");
}

}  // namespace polymoe
