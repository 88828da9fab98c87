// A small JSON writer: strings escaped, numbers in the shortest form that reads back equal, NaN and infinities as null
// (JSON has no word for them), nesting checked.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <string_view>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

/// Offset of the first byte that is not part of well-formed UTF-8 (Unicode 15, table 3-7), or npos.
inline std::size_t find_bad_utf8(std::string_view s) {
  const auto at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  for (std::size_t i = 0; i < s.size();) {
    const unsigned c = at(i);
    // The second byte has a narrower range after E0, ED, F0 and F4: no overlong forms, surrogates or beyond U+10FFFF.
    unsigned low = 0x80, high = 0xBF;
    std::size_t more = 0;
    if (c < 0x80) {
      more = 0;
    } else if (c >= 0xC2 && c <= 0xDF) {
      more = 1;
    } else if (c >= 0xE0 && c <= 0xEF) {
      more = 2;
      if (c == 0xE0) low = 0xA0;
      if (c == 0xED) high = 0x9F;
    } else if (c >= 0xF0 && c <= 0xF4) {
      more = 3;
      if (c == 0xF0) low = 0x90;
      if (c == 0xF4) high = 0x8F;
    } else {
      return i;
    }
    for (std::size_t k = 1; k <= more; ++k, low = 0x80, high = 0xBF)
      if (i + k >= s.size() || at(i + k) < low || at(i + k) > high) return i;
    i += more + 1;
  }
  return std::string_view::npos;
}

/// `s` between quotes.  Bytes that are not UTF-8 become U+FFFD, so that the result is always valid JSON.
inline std::string json_quote(std::string_view s) {
  std::string out = "\"";
  while (true) {
    const std::size_t bad = find_bad_utf8(s);
    for (const char ch : s.substr(0, bad)) {
      const auto c = static_cast<unsigned char>(ch);
      if (ch == '"' || ch == '\\')
        (out += '\\') += ch;
      else if (ch == '\n')
        out += "\\n";
      else if (ch == '\t')
        out += "\\t";
      else if (ch == '\r')
        out += "\\r";
      else if (c < 0x20 || c == 0x7F)
        ((out += "\\u00") += "0123456789abcdef"[c >> 4]) += "0123456789abcdef"[c & 15];
      else
        out += ch;
    }
    if (bad == std::string_view::npos) break;
    out += "\xEF\xBF\xBD";
    s.remove_prefix(bad + 1);
  }
  return out += '"';
}

/// The shortest decimal that reads back as `x`; "null" for NaN and infinities.  Never depends on the locale.
template <std::floating_point F>
std::string json_number(F x) {
  if (!std::isfinite(x)) return "null";
  char text[40];
  const auto r = std::to_chars(text, text + sizeof text, x);
  return {text, r.ptr};
}

/// Builds one JSON value.  Misuse (a value without its key, an unclosed bracket) throws `polymoe::error`.
///
///     json_writer w;
///     w.begin_object().field("step", 12).key("load").begin_array().value(0.5).value(0.5).end_array().end_object();
///     w.str();  // {"step":12,"load":[0.5,0.5]}
class json_writer {
 public:
  json_writer& begin_object() { return open('{', '}'); }
  json_writer& end_object() { return close('}'); }
  json_writer& begin_array() { return open('[', ']'); }
  json_writer& end_array() { return close(']'); }

  json_writer& key(std::string_view name) {
    require(!open_.empty() && open_.back().closing == '}' && !has_key_, "json: the key ", json_quote(name),
            " does not stand in an object");
    comma();
    (text_ += json_quote(name)) += ':';
    has_key_ = true;
    return *this;
  }
  json_writer& value(std::string_view s) { return raw(json_quote(s)); }
  json_writer& value(const char* s) { return raw(json_quote(s)); }
  json_writer& value(const std::string& s) { return raw(json_quote(s)); }
  json_writer& value(bool b) { return raw(b ? "true" : "false"); }
  template <std::floating_point F>
  json_writer& value(F x) {
    return raw(json_number(x));
  }
  template <std::integral I>
  json_writer& value(I x) {
    return raw(std::to_string(x));
  }
  json_writer& null() { return raw("null"); }
  template <class V>
  json_writer& field(std::string_view name, const V& v) {
    return key(name).value(v);
  }

  /// The text; every bracket has to be closed.
  const std::string& str() const {
    require(open_.empty() && !text_.empty(), "json: ", open_.size(), " brackets are open in ", text_);
    return text_;
  }

 private:
  struct level {
    char closing;
    bool first;
  };
  void comma() {
    if (!open_.back().first) text_ += ',';
    open_.back().first = false;
  }
  void place() {
    if (open_.empty()) {
      require(text_.empty(), "json: a second value after the end of ", text_);
    } else if (open_.back().closing == '}') {
      require(has_key_, "json: a value without a key in ", text_);
      has_key_ = false;
    } else {
      comma();
    }
  }
  json_writer& raw(std::string_view s) {
    place();
    text_ += s;
    return *this;
  }
  json_writer& open(char c, char closing) {
    place();
    text_ += c;
    open_.push_back({closing, true});
    return *this;
  }
  json_writer& close(char c) {
    require(!open_.empty() && open_.back().closing == c && !has_key_, "json: unexpected ", c, " after ", text_);
    text_ += c;
    open_.pop_back();
    return *this;
  }

  std::string text_;
  std::vector<level> open_;
  bool has_key_ = false;
};

}  // namespace polymoe
