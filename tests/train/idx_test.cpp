// sanitize: yes
// IDX files: plain and gzip, cut, damaged and wrong ones.
// with: files
#include <doctest/doctest.h>

#include <polymoe/train/idx.hpp>

#include "temp_folder.hpp"

namespace polymoe::inline v0 {

namespace {

std::string big_endian(std::uint32_t x) {
  return {static_cast<char>(x >> 24), static_cast<char>(x >> 16), static_cast<char>(x >> 8), static_cast<char>(x)};
}

std::string idx(std::vector<std::uint32_t> dims, const std::string& values) {
  std::string s{'\0', '\0', '\x08', static_cast<char>(dims.size())};
  for (const auto d : dims) s += big_endian(d);
  return s + values;
}

/// One gzip member by zlib's own writer; `name` adds a file name field to its header.
std::string gzip(const std::string& raw, const char* name = nullptr) {
  z_stream z{};
  REQUIRE(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  gz_header head{};
  std::string text = name ? name : "";
  if (name) {
    head.name = reinterpret_cast<Bytef*>(text.data());
    head.hcrc = 1;
    REQUIRE(deflateSetHeader(&z, &head) == Z_OK);
  }
  std::string in = raw, out(raw.size() + 200, '\0');
  z.next_in = reinterpret_cast<Bytef*>(in.data());
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string byte_ramp(std::size_t n) {
  std::string s(n, '\0');
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 37 + i / 7);
  return s;
}

std::string read_error(const std::string& path, int rank = 3) {
  return message_of<polymoe::error>([&] { read_idx(path, rank); });
}

}  // namespace

TEST_CASE("idx: plain and gzip files give the same images and labels") {
  temp_folder t;
  const std::string pixels = byte_ramp(5 * 4 * 3), labels{0, 2, 1, 2, 0};
  const auto check = [&](const dataset& d) {
    CHECK(d.size() == 5);
    CHECK(d.channels == 1);
    CHECK(d.height == 4);
    CHECK(d.width == 3);
    CHECK(d.classes() == 3);
    CHECK(d.class_names[2] == "2");
    for (std::size_t i = 0; i < pixels.size(); ++i) REQUIRE(d.pixels[i] == static_cast<std::uint8_t>(pixels[i]));
    for (std::size_t i = 0; i < 5; ++i) CHECK(d.labels[i] == labels[i]);
  };
  const std::string x = idx({5, 4, 3}, pixels), y = idx({5}, labels);
  check(read_idx_dataset(t.put("x", x), t.put("y", y)));
  check(read_idx_dataset(t.put("x.gz", gzip(x)), t.put("y.gz", gzip(y, "labels"))));
  // The name does not matter, the content does; several members are one file (RFC 1952, 2.2).
  check(read_idx_dataset(t.put("x2", gzip(x.substr(0, 11)) + gzip(x.substr(11))), t.put("y2", gzip(y))));
}

TEST_CASE("idx: every length of a cut file and every byte too many is an error with file and byte") {
  temp_folder t;
  const std::string plain = idx({3, 4, 4}, byte_ramp(48)), packed = gzip(plain, "some name");
  for (const std::string& whole : {plain, packed, gzip(plain)}) {
    CHECK(read_error(t.put("whole", whole)).empty());
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const std::string m = read_error(t.put("cut", whole.substr(0, n)));
      CAPTURE(n);
      REQUIRE(has(m, t.file("cut")));
      REQUIRE(has(m, "byte "));
    }
    for (const char* extra : {"x", "\x1f", "\x1f\x8b", "abcdefgh"}) {
      CAPTURE(extra);
      CHECK(has(read_error(t.put("long", whole + extra)), "byte"));
    }
  }
  // More bytes than the header says, hidden inside the compressed data.
  CHECK(has(read_error(t.put("inside", gzip(plain + "x"))), "more than the expected 64 bytes"));
  CHECK(has(read_error(t.put("short", gzip(plain.substr(0, 60)))), "need 48 bytes, found 44"));
}

TEST_CASE("idx: no changed bit of a gzip file goes unseen, but for header fields nobody reads") {
  temp_folder t;
  const std::string plain = idx({3, 4, 4}, byte_ramp(48)), packed = gzip(plain);
  const auto good = read_idx(t.put("good", packed), 3);
  int harmless = 0;
  for (std::size_t i = 0; i < packed.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = packed;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      t.put("bad", bad);
      CAPTURE(i);
      CAPTURE(bit);
      const std::string m = read_error(t.file("bad"));
      if (m.empty()) {
        // Text flag, time, extra flags, operating system; or padding bits after the last block.  Same values anyhow.
        REQUIRE((i < 10 || i == packed.size() - 9));
        REQUIRE(read_idx(t.file("bad"), 3).values == good.values);
        ++harmless;
      } else {
        REQUIRE(has(m, t.file("bad")));
      }
    }
  CHECK(harmless <= 1 + 4 * 8 + 8 + 8 + 7);
  std::string crc = packed;
  crc[packed.size() - 8] = static_cast<char>(crc[packed.size() - 8] ^ 1);
  CHECK(has(read_error(t.put("crc", crc)), "CRC-32"));
}

TEST_CASE("idx: a folder in the place of a file, and files that cannot be read, are errors with their path") {
  temp_folder t;
  CHECK(has(read_error(t.path), t.path + ": expected a regular file, found a folder"));
  CHECK(has(read_error(t.file("none")), "none: cannot open: No such file"));
  const std::string whole = t.put("whole", idx({2, 2, 2}, byte_ramp(8)));
  CHECK(read_error(whole).empty());
  CHECK(has(read_error(whole + "/below"), "whole/below: cannot open: Not a directory"));
  std::filesystem::create_symlink("around", t.file("around"));
  CHECK(has(read_error(t.file("around")), "around: cannot open: "));
  std::filesystem::permissions(whole, std::filesystem::perms::none);
  if (::geteuid() != 0) CHECK(has(read_error(whole), "whole: cannot open: Permission denied"));  // root may read all
}

TEST_CASE("idx: what does not fit is named with both numbers") {
  temp_folder t;
  const std::string x = t.put("x", idx({2, 2, 2}, byte_ramp(8)));
  CHECK(has(read_error(t.file("none")), "No such file"));
  CHECK(has(read_error(t.path), "expected a regular file, found a folder"));
  CHECK(has(read_error("/dev/null"), "expected a regular file"));
  CHECK(has(read_error(t.put("magic", "PNG?" + byte_ramp(40))),
            "byte 0: expected an IDX magic number 0 0 8 3, found 80 78 71 63"));
  CHECK(has(read_error(x, 1), "byte 3: expected 1 dimensions, found 3"));
  std::string floats = idx({2, 2, 2}, byte_ramp(8));
  floats[2] = 0x0D;
  CHECK(has(read_error(t.put("floats", floats)), "byte 2: expected type 8 (unsigned bytes), found 13"));
  // Sizes whose product overflows, and sizes that would allocate 64 GB, are refused before any allocation.
  CHECK(has(read_error(t.put("huge", idx({~0u, ~0u, ~0u}, byte_ramp(8)))), "62 bits"));
  CHECK(has(read_error(t.put("big", idx({1u << 16, 1u << 10, 1u << 10}, byte_ramp(8)))), "can hold at most 8"));
  CHECK(has(read_error(t.put("big.gz", gzip(idx({1u << 16, 1u << 10, 1u << 10}, byte_ramp(8))))), "can hold at most"));

  const auto pair_error = [&](const std::string& labels, std::vector<std::string> names = {}) {
    return message_of<polymoe::error>([&] { read_idx_dataset(x, t.put("y", labels), names); });
  };
  CHECK(has(pair_error(idx({3}, byte_ramp(3))), "2 images, but"));
  CHECK(has(pair_error(idx({3}, byte_ramp(3))), "has 3 labels"));
  CHECK(has(pair_error(idx({2}, {0, 5}), {"a", "b"}), "byte 9: label 5, there are 2 classes"));
  CHECK(has(message_of<polymoe::error>([&] { find_fashion_mnist(t.path); }), "train-images-idx3-ubyte.gz: not found"));
  CHECK_FALSE(has_fashion_mnist(t.path));
}

}  // namespace polymoe
