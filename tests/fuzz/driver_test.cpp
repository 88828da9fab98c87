// The driver finds parsers that are wrong: positive controls.
// sanitize: yes
// optimise: yes
#include <new>

#include "fuzz/mutate.hpp"

namespace {

/// A file: a length byte, then that many bytes.
const std::vector<fuzz::bytes> seeds = {std::string("\x03"
                                                    "abc"),
                                        std::string("\x05"
                                                    "hello")};

std::string sound(const fuzz::bytes& x) {
  polymoe::require(!x.empty(), "empty");
  const auto n = static_cast<unsigned char>(x[0]);
  polymoe::require(x.size() == n + 1u, "length ", int{n}, " of ", x.size());
  return "";
}

}  // namespace

TEST_CASE("a sound parser passes, and every run makes the same inputs") {
  const auto a = fuzz::drive("sound", seeds, sound, 3000), b = fuzz::drive("sound", seeds, sound, 3000);
  CHECK(a.fault == "");
  CHECK(a.accepted + a.refused == 3002);
  CHECK(a.accepted > 100);
  CHECK(a.accepted == b.accepted);
}
TEST_CASE("a parser that reads past its end is found") {
  const auto o = fuzz::drive(
      "past the end", seeds,
      [](const fuzz::bytes& x) {
        for (int i = 0; i < static_cast<unsigned char>(x.at(0)); ++i) (void)x.at(static_cast<std::size_t>(i) + 1);
        return std::string();
      },
      1000);
  CHECK(o.fault.find("threw something else") != std::string::npos);
}
TEST_CASE("a parser that believes a size is found") {
  const auto o = fuzz::drive(
      "believes", {std::string("\0\0\0\x02hi", 6)},
      [](const fuzz::bytes& x) {
        polymoe::require(x.size() >= 4, "short");
        std::uint32_t n = 0;
        for (int i = 0; i < 4; ++i) n = n << 8 | static_cast<unsigned char>(x[static_cast<std::size_t>(i)]);
        if (n > (1u << 24)) throw std::bad_alloc();  // what asking for that much memory may end in
        polymoe::require(x.size() == n + 4u, "length");
        return std::string();
      },
      1000);
  CHECK(o.fault.find("threw something else") != std::string::npos);
}
TEST_CASE("a parser that accepts what it must not is found, and so is a seed that it refuses") {
  const auto o = fuzz::drive(
      "accepts", seeds,
      [](const fuzz::bytes& x) {
        sound(x);
        return std::string(x.find('\xff') == std::string::npos ? "" : "a byte that no file may have");
      },
      5000);
  CHECK(o.fault.find("no file may have") != std::string::npos);
  CHECK(fuzz::drive("refuses", {"\x09"}, sound, 10).fault.find("seed 0") != std::string::npos);
}
