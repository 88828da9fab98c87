// A strict JSON reader that builds no tree: the caller asks for what it expects and anything else is an error with the
// file and the byte.  Duplicate keys, comments, trailing commas, lone surrogates and bad UTF-8 are refused.
#pragma once

#include <unordered_set>

#include "json.hpp"

namespace polymoe::inline v0 {

/// Reads one JSON value front to back.
///
///     json_reader r(text, "config.json");
///     std::string key;
///     for (r.begin_object(); r.next_key(key);) if (key == "step") step = r.unsigned_integer(); else r.skip();
///     r.end();
class json_reader {
 public:
  static constexpr int max_depth = 64;

  /// `text` has to outlive the reader.  `where` and `base` (offset of the text in the file) are for messages.
  json_reader(std::string_view text, std::string where, std::size_t base = 0)
      : text_(text), where_(std::move(where)), base_(base) {
    const std::size_t bad = find_bad_utf8(text);
    require(bad == std::string_view::npos, where_, ": byte ", base_ + bad, " is not UTF-8");
  }

  void begin_object() { open('{'); }
  /// Moves to the next member and reads its key; false after the last one, which closes the object.
  bool next_key(std::string& key) {
    if (!next('}', "object")) return false;
    const std::size_t at = offset();
    key = string();
    check(open_.back().keys.insert(key).second, at, "the key ", json_quote(key), " stands twice in one object");
    expect(':');
    return true;
  }
  void begin_array() { open('['); }
  /// Moves to the next element; false after the last one, which closes the array.
  bool next_element() { return next(']', "array"); }

  /// The first character of the next value, or 0 at the end of the text.
  char peek() {
    space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  /// Offset in the file of the next value.
  std::size_t offset() {
    space();
    return base_ + at_;
  }

  std::string string() {
    expect('"');
    std::string out;
    while (true) {
      check(at_ < text_.size(), here(), "the text ends inside a string");
      const char c = text_[at_++];
      if (c == '"') return out;
      check(static_cast<unsigned char>(c) >= 0x20, here() - 1, "a control character inside a string");
      if (c == '\\')
        escape(out);
      else
        out += c;
    }
  }
  /// Digits only: no sign, fraction, exponent or leading zero; at most 2^64 - 1.
  std::uint64_t unsigned_integer() {
    space();
    const std::size_t start = at_;
    std::uint64_t n = 0;
    for (; at_ < text_.size() && digit(text_[at_]); ++at_) {
      const auto d = static_cast<std::uint64_t>(text_[at_] - '0');
      check(!__builtin_mul_overflow(n, 10u, &n) && !__builtin_add_overflow(n, d, &n), base_ + start,
            "the number does not fit in 64 bits");
    }
    check(at_ > start, base_ + start, "expected an unsigned integer, found ", found());
    check(at_ - start == 1 || text_[start] != '0', base_ + start, "a number with a leading zero");
    check(at_ >= text_.size() || (text_[at_] != '.' && text_[at_] != 'e' && text_[at_] != 'E'), base_ + start,
          "expected an unsigned integer, found a fraction or an exponent");
    return n;
  }
  double number() {
    space();
    const std::size_t start = at_;
    const auto digits = [&] {
      const std::size_t first = at_;
      while (at_ < text_.size() && digit(text_[at_])) ++at_;
      check(at_ > first, base_ + start, "expected a number, found ", found());
      return at_ - first;
    };
    const auto take = [&](std::string_view any) {
      const bool there = at_ < text_.size() && any.find(text_[at_]) != std::string_view::npos;
      at_ += there;
      return there;
    };
    take("-");
    const bool zero = at_ < text_.size() && text_[at_] == '0';
    check(digits() == 1 || !zero, base_ + start, "a number with a leading zero");
    if (take(".")) digits();
    if (take("eE")) {
      take("+-");
      digits();
    }
    double x = 0;
    const auto r = std::from_chars(text_.data() + start, text_.data() + at_, x);
    check(r.ec == std::errc(), base_ + start, "the number does not fit in a double");
    return x;
  }
  bool boolean() {
    const bool yes = peek() == 't';
    word(yes ? "true" : "false");
    return yes;
  }
  void null() { word("null"); }

  /// Reads past any one value, with the same checks.
  void skip() {
    std::string key;
    switch (peek()) {
      case '{':
        for (begin_object(); next_key(key);) skip();
        break;
      case '[':
        for (begin_array(); next_element();) skip();
        break;
      case '"':
        string();
        break;
      case 't':
      case 'f':
        boolean();
        break;
      case 'n':
        null();
        break;
      default:
        number();
    }
  }
  /// Only white space may follow.
  void end() {
    space();
    check(at_ == text_.size() && open_.empty(), here(), "expected the end of the text, found ", found());
  }
  /// Throws with the file and a byte offset.
  template <class... Parts>
  void check(bool ok, std::size_t at, const Parts&... parts) const {
    require(ok, where_, ": byte ", at, ": ", parts...);
  }

 private:
  struct level {
    bool first = true;
    std::unordered_set<std::string> keys;
  };
  static bool digit(char c) { return c >= '0' && c <= '9'; }
  std::size_t here() const { return base_ + at_; }
  std::string found() const {
    return at_ < text_.size() ? json_quote(text_.substr(at_, 1)) : std::string("the end of the text");
  }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  void expect(char c) {
    space();
    check(at_ < text_.size() && text_[at_] == c, here(), "expected '", c, "', found ", found());
    ++at_;
  }
  void open(char c) {
    expect(c);
    check(open_.size() < max_depth, here(), "nested deeper than ", max_depth, " levels");
    open_.emplace_back();
  }
  bool next(char closing, const char* what) {
    require(!open_.empty(), where_, ": no ", what, " is open");
    if (peek() == closing) {
      ++at_;
      open_.pop_back();
      return false;
    }
    if (!open_.back().first) expect(',');
    open_.back().first = false;
    return true;
  }
  void word(std::string_view w) {
    space();
    check(text_.substr(at_, w.size()) == w, here(), "expected ", w, ", found ", found());
    at_ += w.size();
  }
  unsigned hex4() {
    unsigned n = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const int d = digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      check(d >= 0, here(), "expected a hexadecimal digit, found ", found());
      n = n * 16 + static_cast<unsigned>(d);
    }
    return n;
  }
  void escape(std::string& out) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const std::size_t plain = std::string_view("\"\\/bfnrt").find(c);
    if (c != '\0' && plain != std::string_view::npos) {
      out += "\"\\/\b\f\n\r\t"[plain];
      ++at_;
      return;
    }
    const std::size_t at = here() - 1;
    check(c == 'u', at, "an unknown escape in a string");
    ++at_;
    unsigned u = hex4();
    check(u < 0xDC00 || u > 0xDFFF, at, "half of a surrogate pair");
    if (u >= 0xD800 && u <= 0xDBFF) {
      check(text_.substr(at_, 2) == "\\u", at, "half of a surrogate pair");
      at_ += 2;
      const unsigned low = hex4();
      check(low >= 0xDC00 && low <= 0xDFFF, at, "half of a surrogate pair");
      u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
    }
    const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((u >> shift) & 0x3F)); };
    if (u < 0x80) {
      out += static_cast<char>(u);
    } else if (u < 0x800) {
      out += static_cast<char>(0xC0 | (u >> 6));
      tail(0);
    } else if (u < 0x10000) {
      out += static_cast<char>(0xE0 | (u >> 12));
      tail(6), tail(0);
    } else {
      out += static_cast<char>(0xF0 | (u >> 18));
      tail(12), tail(6), tail(0);
    }
  }

  std::string_view text_;
  std::string where_;
  std::size_t base_, at_ = 0;
  std::vector<level> open_;
};

}  // namespace polymoe
