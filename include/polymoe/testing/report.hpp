// report: what a shipped checker found.
//
// The checkers of this folder need no test framework: they return a report, the caller decides what to do with it.
//
//   const auto r = polymoe::testing::check_router<my_router>();
//   if (!r.ok) std::puts(r.text.c_str());
//
// A promise that is broken many times is one line: its first case and how often it was broken.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <string>
#include <vector>

#include "../core/rng.hpp"

namespace polymoe::inline v0::testing {

struct report {
  bool ok = true;
  std::string text;  ///< one line per broken promise; empty when ok
};

namespace detail {

/// A piece of a message, formatted only when the message is needed.
struct part {
  const char* text = nullptr;
  double number = 0;
  part(const char* s) : text(s) {}
  part(const std::string& s) : text(s.c_str()) {}
  part(double x) : number(x) {}
  part(std::int64_t x) : number(static_cast<double>(x)) {}
  part(int x) : number(x) {}
};

/// Collects broken promises by name.
class ledger {
 public:
  explicit ledger(std::string who) : who_(std::move(who)) {}

  /// Counts one check of `promise`; `parts` describe the case and are only formatted for its first violation.
  template <class... Parts>
  bool expect(bool held, const char* promise, const Parts&... parts) {
    return held || fail(promise, {part(parts)...});
  }
  bool fail(const char* promise, std::initializer_list<part> parts) {
    for (entry& e : broken_)
      if (e.promise == promise) return ++e.times, false;
    std::ostringstream s;
    s.precision(12);
    for (const part& p : parts)
      if (p.text)
        s << p.text;
      else
        s << p.number;
    broken_.push_back({std::string(promise), s.str(), 1});
    return false;
  }
  report result() const {
    report r;
    r.ok = broken_.empty();
    for (const entry& e : broken_) {
      r.text += who_ + ": " + e.promise + "; first case: " + e.first;
      if (e.times > 1) r.text += " (" + std::to_string(e.times) + " cases)";
      r.text += "\n";
    }
    return r;
  }

 private:
  struct entry {
    std::string promise, first;
    long times = 0;
  };
  std::string who_;
  std::vector<entry> broken_;
};

/// Numbers for checks: the same in every run.
class numbers {
 public:
  explicit numbers(const char* name) : draw_(random_root{20240229}.stream(stream_id(name), 0)) {}
  double normal() { return static_cast<double>(draw_.normal(next_++)); }
  double uniform() { return static_cast<double>(draw_.uniform(next_++)); }
  int below(int n) { return static_cast<int>(draw_.below(next_++, static_cast<std::uint32_t>(n))); }

 private:
  random_stream draw_;
  std::uint64_t next_ = 0;
};

/// |a - b| within `tolerance` of the larger of 1, |a| and |b|.  NaN is never close.
inline bool close(double a, double b, double tolerance) {
  const double scale = std::fmax(1.0, std::fmax(std::fabs(a), std::fabs(b)));
  return std::fabs(a - b) <= tolerance * scale;
}

}  // namespace detail
}  // namespace polymoe::testing
