// The one exception type of the library, and the checks that throw it.
//
// Messages say what was called, what was expected and what came, with both numbers:
//   "gather: x is [128, 380], the layer was built for dim 384".
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "config.hpp"

namespace polymoe::inline v0 {

/// Thrown for every misuse found at run time.  Nothing has been changed when it is thrown.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw error(text.str());
}
}  // namespace detail

/// Throws `polymoe::error` with the concatenated parts when `ok` is false.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (!ok) detail::fail(parts...);
}

/// a*b with a check: sizes beyond 2^62 are reported instead of wrapping.
inline index checked_mul(index a, index b, const char* what) {
  index r = 0;
  if (__builtin_mul_overflow(a, b, &r) || r < 0 || r > (index{1} << 62))
    detail::fail(what, ": the size ", a, " x ", b, " does not fit in 62 bits");
  return r;
}

}  // namespace polymoe
