// Whole numbers in names, readable while a program is compiled.
#pragma once

#include <string_view>

#include "config.hpp"

namespace polymoe::inline v0 {
namespace detail {

/// The number that 1 to 9 digits are; -1 for any other text.
constexpr index number_in(std::string_view digits) {
  if (digits.empty() || digits.size() > 9) return -1;
  index n = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return -1;
    n = 10 * n + (c - '0');
  }
  return n;
}

}  // namespace detail
}  // namespace polymoe
