// Bytes of a file front to back, through gzip when the file is compressed (RFC 1952, the deflate part by zlib).
//
// The caller says how many bytes it wants; nothing is allocated from a number in the file before that number has been
// held against what the file can hold.
#pragma once

#include <zlib.h>

#include <algorithm>

#include "file.hpp"

namespace polymoe::inline v0 {

/// Reads a plain or gzip file in exact portions.  Every error has the file and the byte offset in it.
class byte_source {
 public:
  explicit byte_source(std::string path) : path_(std::move(path)), file_(read_file(path_)) {
    gzip_ = file_.size() >= 2 && byte(0) == 0x1f && byte(1) == 0x8b;
    if (gzip_) begin_member();
  }
  byte_source(const byte_source&) = delete;
  byte_source& operator=(const byte_source&) = delete;
  ~byte_source() {
    if (open_) inflateEnd(&z_);
  }

  /// Fills `out` with the next `n` bytes; `what` names them when the file ends too early.
  void read(void* out, std::size_t n, const char* what) {
    std::size_t got = 0;
    if (!gzip_) {
      got = std::min(n, file_.size() - at_);
      if (got > 0) std::memcpy(out, file_.data() + at_, got);
      at_ += got;
    } else {
      got = inflate_some(static_cast<unsigned char*>(out), n);
    }
    done_ += got;
    require(got == n, path_, ": ends at byte ", at_, ": ", what, " need ", n, " bytes, found ", got);
  }
  /// Throws unless everything was read and the checksum is right.
  void finish() {
    if (gzip_) {
      unsigned char extra = 0;
      require(inflate_some(&extra, 1) == 0, path_, ": byte ", at_, ": more than the expected ", done_,
              " bytes after decompression");
    }
    require(at_ == file_.size(), path_, ": ", file_.size(), " bytes, expected the end at byte ", at_);
  }
  /// No honest file of this size holds more bytes: deflate expands at most 1032 times.
  index at_most() const {
    const auto left = static_cast<index>(file_.size() - at_);
    return gzip_ ? 1032 * left + 65536 : left;
  }
  const std::string& path() const { return path_; }
  /// Offset in the file; in a gzip file that of the compressed bytes read so far.
  std::size_t offset() const { return at_; }

 private:
  unsigned byte(std::size_t i) const { return std::to_integer<unsigned>(file_[i]); }
  unsigned word(std::size_t i) const { return byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24; }
  void need(std::size_t n, const char* what) const {
    require(n <= file_.size() - at_, path_, ": ends at byte ", file_.size(), ", ", what, " at byte ", at_, " has ", n,
            " bytes");
  }
  void skip_text(const char* what) {
    do need(1, what);
    while (byte(at_++) != 0);
  }

  void begin_member() {
    const std::size_t start = at_;
    need(10, "a gzip header");
    require(byte(at_) == 0x1f && byte(at_ + 1) == 0x8b, path_, ": byte ", at_, ": expected the end or a gzip header");
    require(byte(at_ + 2) == 8, path_, ": byte ", at_ + 2, ": compression method ", byte(at_ + 2), ", expected 8");
    const unsigned flags = byte(at_ + 3);
    require((flags & 0xE0u) == 0, path_, ": byte ", at_ + 3, ": unknown gzip flags ", flags);
    at_ += 10;
    if (flags & 4u) {
      need(2, "a gzip extra field");
      const std::size_t extra = byte(at_) | byte(at_ + 1) << 8;
      at_ += 2;
      need(extra, "a gzip extra field");
      at_ += extra;
    }
    if (flags & 8u) skip_text("a gzip file name");
    if (flags & 16u) skip_text("a gzip comment");
    if (flags & 2u) {
      need(2, "a gzip header checksum");
      const auto* first = reinterpret_cast<const Bytef*>(file_.data() + start);
      const auto have = static_cast<unsigned>(crc32_z(0, first, at_ - start) & 0xFFFFu);
      const unsigned want = byte(at_) | byte(at_ + 1) << 8;
      require(have == want, path_, ": byte ", at_, ": the gzip header's checksum is ", have, ", stored is ", want);
      at_ += 2;
    }
    // Negative window bits: raw deflate, because header and trailer are read here.
    require((open_ ? inflateReset(&z_) : inflateInit2(&z_, -15)) == Z_OK, path_, ": zlib cannot start");
    open_ = true;
    in_member_ = true;
    crc_ = 0;
    length_ = 0;
  }

  void end_member() {
    need(8, "a gzip trailer");
    require(word(at_) == crc_, path_, ": byte ", at_, ": the data's CRC-32 is ", crc_, ", stored is ", word(at_));
    require(word(at_ + 4) == length_, path_, ": byte ", at_ + 4, ": ", length_, " bytes of data (mod 2^32), stored is ",
            word(at_ + 4));
    at_ += 8;
    in_member_ = false;
    if (at_ < file_.size()) begin_member();
  }

  /// Up to n bytes; fewer only at the end of the last member.
  std::size_t inflate_some(unsigned char* out, std::size_t n) {
    std::size_t got = 0;
    while (got < n && in_member_) {
      constexpr std::size_t most = 1u << 30;
      z_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(file_.data() + at_));
      z_.avail_in = static_cast<uInt>(std::min(file_.size() - at_, most));
      z_.next_out = out + got;
      z_.avail_out = static_cast<uInt>(std::min(n - got, most));
      const uInt in = z_.avail_in, room = z_.avail_out;
      const int rc = ::inflate(&z_, Z_NO_FLUSH);
      const std::size_t fresh = room - z_.avail_out;
      at_ += in - z_.avail_in;
      crc_ = static_cast<unsigned>(crc32_z(crc_, out + got, fresh));
      length_ += static_cast<unsigned>(fresh);
      got += fresh;
      if (rc == Z_STREAM_END) {
        end_member();
      } else {
        require(rc == Z_OK || rc == Z_BUF_ERROR, path_, ": byte ", at_,
                ": damaged gzip data: ", z_.msg ? z_.msg : "zlib error " + std::to_string(rc));
        require(fresh > 0 || in != z_.avail_in, path_, ": ends at byte ", at_, " inside the gzip data, after ",
                done_ + got, " decompressed bytes");
      }
    }
    return got;
  }

  std::string path_;
  std::vector<std::byte> file_;
  bool gzip_ = false, open_ = false, in_member_ = false;
  z_stream z_{};
  unsigned crc_ = 0, length_ = 0;
  std::size_t at_ = 0, done_ = 0;
};

}  // namespace polymoe
