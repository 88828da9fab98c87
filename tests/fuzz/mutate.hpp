// Parsers on damaged input: valid files are changed at random and read again, many times, the same way in every run.
//
// A parser may accept what it gets or refuse it with polymoe::error; anything else (another exception, a crash, a
// sanitizer's report, a broken promise about accepted data) is a fault.  POLYMOE_FUZZ_RUNS says how many inputs each
// test makes (2000 without it); POLYMOE_FUZZ_FIRST=<n> prints the inputs from number n > 0 on, for a crash that tells
// no input itself.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <polymoe/core/error.hpp>
#include <polymoe/core/rng.hpp>

namespace fuzz {

using bytes = std::string;

inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}
inline std::uint64_t runs() { return from_environment("POLYMOE_FUZZ_RUNS", 2000); }

/// Random numbers of one input.
class dice {
 public:
  dice(const char* test, std::uint64_t input)
      : stream_(polymoe::random_root{2024}.stream(polymoe::stream_id(test), input)) {}
  std::uint64_t below(std::uint64_t n) {
    const polymoe::words4 w = stream_.bits(next_++);
    return n ? (std::uint64_t{w.a} << 32 | w.b) % n : 0;
  }
  char byte() { return static_cast<char>(below(256)); }

 private:
  polymoe::random_stream stream_;
  std::uint64_t next_ = 0;
};

/// One change of `x`; `other` is a second valid file to take pieces from.
inline void change(bytes& x, const bytes& other, dice& d) {
  // One change in four goes to the first bytes, where the sizes stand.
  const auto place = [&] {
    return static_cast<std::size_t>(d.below(d.below(4) ? x.size() + 1 : std::min<std::size_t>(x.size() + 1, 16)));
  };
  const auto length = [&](std::size_t most) {
    return static_cast<std::size_t>(1 + d.below(std::min<std::size_t>(most, 1 + d.below(64))));
  };
  const std::size_t at = place(), left = x.size() - at;
  switch (d.below(12)) {
    case 0:
      if (left) x[at] = static_cast<char>(x[at] ^ (1 << d.below(8)));
      break;
    case 1:
      if (left) x[at] = d.byte();
      break;
    case 2: {  // numbers at which readers stumble
      static constexpr unsigned char edge[] = {0,   1,   9,   10,  19,  20,  99,  100, 0x7f, 0x80, 0xff,
                                               '0', '9', '-', '"', '{', '}', '[', ']', ',',  '\\', ':'};
      if (left) x[at] = static_cast<char>(edge[d.below(sizeof(edge))]);
      break;
    }
    case 3: {  // a wide integer, in either byte order
      static constexpr std::uint64_t edge[] = {0,
                                               1,
                                               255,
                                               65535,
                                               0x7fffffff,
                                               0x80000000,
                                               0xffffffff,
                                               0x100000000,
                                               0x3fffffffffffffff,
                                               0x7fffffffffffffff,
                                               0xffffffffffffffff};
      const std::uint64_t v = edge[d.below(std::size(edge))];
      const std::size_t wide = d.below(2) ? 8 : 4, n = std::min(wide, left);
      const bool big = d.below(2);
      for (std::size_t i = 0; i < n; ++i) x[at + i] = static_cast<char>(v >> 8 * (big ? wide - 1 - i : i));
      break;
    }
    case 4:
      if (left) x.erase(at, length(left));
      break;
    case 5:
      x.resize(at);
      break;
    case 6: {
      bytes fresh(length(64), '\0');
      for (char& c : fresh) c = d.byte();
      x.insert(at, fresh);
      break;
    }
    case 7:  // the same piece twice
      if (left) x.insert(place(), x.substr(at, length(left)));
      break;
    case 8: {  // a piece of another file
      const auto from = static_cast<std::size_t>(d.below(other.size() + 1));
      if (from < other.size()) x.insert(at, other.substr(from, length(other.size() - from)));
      break;
    }
    case 9: {  // over what is there
      const auto from = static_cast<std::size_t>(d.below(other.size() + 1));
      const std::size_t n = std::min({left, other.size() - from, length(64)});
      x.replace(at, n, other, from, n);
      break;
    }
    case 10: {  // a digit in a text
      const std::size_t digit = x.find_first_of("0123456789", at);
      if (digit != bytes::npos) x[digit] = static_cast<char>('0' + d.below(10));
      break;
    }
    default: {  // a longer number in a text
      const std::size_t digit = x.find_first_of("0123456789", at);
      if (digit != bytes::npos) x.insert(digit, std::to_string(d.below(~0ull) >> d.below(64)));
    }
  }
}

struct outcome {
  std::uint64_t accepted = 0, refused = 0;
  std::string fault;  ///< what went wrong first, with the input; empty: nothing
};

inline std::string as_hex(const bytes& x) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : x.substr(0, 4096))
    out += digits[static_cast<unsigned char>(c) >> 4], out += digits[static_cast<unsigned char>(c) & 15];
  return out + (x.size() > 4096 ? "..." : "");
}

/// Reads every seed, then `count` changed ones.  `read` returns what is wrong with accepted data, or ""; it throws
/// polymoe::error to refuse.  Accepted inputs become seeds too, so that changes add up.
inline outcome drive(const char* test, std::vector<bytes> seeds, const std::function<std::string(const bytes&)>& read,
                     std::uint64_t count = runs()) {
  outcome o;
  const std::size_t given = seeds.size(), most_seeds = given + 60;
  const auto meet = [&](const bytes& x, const std::string& name) {
    const auto fault = [&](const std::string& what) {
      if (o.fault.empty()) o.fault = std::string(test) + ", " + name + ": " + what + "; the bytes: " + as_hex(x);
      return false;
    };
    try {
      const std::string wrong = read(x);
      if (!wrong.empty()) return fault(wrong);
      ++o.accepted;
      return true;
    } catch (const polymoe::error& e) {
      ++o.refused;
      return e.what()[0] != '\0' ? false : fault("a refusal without a message");
    } catch (const std::exception& e) {
      return fault(std::string("threw something else: ") + e.what());
    }
  };
  for (std::size_t i = 0; i < given; ++i) {
    meet(seeds[i], "seed " + std::to_string(i));
    if (o.fault.empty() && o.refused > 0) o.fault = std::string(test) + ": seed " + std::to_string(i) + " is refused";
  }
  const std::uint64_t first = from_environment("POLYMOE_FUZZ_FIRST", 0);
  for (std::uint64_t i = 0; i < count && o.fault.empty(); ++i) {
    dice d(test, i);
    bytes x = seeds[d.below(seeds.size())];
    const bytes& other = seeds[d.below(seeds.size())];
    for (std::uint64_t n = 1 + d.below(1 + d.below(6)); n > 0; --n) change(x, other, d);
    if (x.size() > (1u << 16)) x.resize(1u << 16);
    if (i >= first && first > 0)
      std::fprintf(stderr, "%s, input %llu: %s\n", test, static_cast<unsigned long long>(i), as_hex(x).c_str());
    if (meet(x, "input " + std::to_string(i)) && !std::count(seeds.begin(), seeds.end(), x)) {
      if (seeds.size() < most_seeds)
        seeds.push_back(x);
      else if (d.below(8) == 0)
        seeds[given + d.below(most_seeds - given)] = x;
    }
  }
  return o;
}

/// drive(), and a failed check for the first fault.  A test whose inputs are all refused, or all accepted, tests
/// little.
inline outcome check(const char* test, std::vector<bytes> seeds, const std::function<std::string(const bytes&)>& read) {
  const outcome o = drive(test, std::move(seeds), read);
  CHECK_MESSAGE(o.fault.empty(), o.fault);
  CHECK(o.accepted > runs() / 100);
  CHECK(o.refused > runs() / 100);
  MESSAGE(std::string(test) << ": " << o.accepted << " accepted, " << o.refused << " refused");
  return o;
}

}  // namespace fuzz
