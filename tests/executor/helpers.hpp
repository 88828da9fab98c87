// What the tests of kernels share, under the host executor and on a GPU.
#pragma once

#if !defined(__CUDACC__)
#include "host_executor.hpp"
#endif

#include <string>

#include <doctest/doctest.h>
#include <polymoe/core/error.hpp>

namespace polymoe::executor_test {

/// The text of the polymoe::error that f() throws.
template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const polymoe::error& e) {
    return e.what();
  }
  return "nothing was thrown";
}
inline bool holds(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE("'", part, "' is not in: ", text);
  return false;
}

#if defined(__CUDACC__)
inline bool no_fibers() { return false; }
#else
// Skips a check, aloud, where AddressSanitizer would end the program at the access itself.
inline bool guards_throw() {
  if constexpr (executor::guards_stop_program) MESSAGE("AddressSanitizer watches the guards and would end the program");
  return !executor::guards_stop_program;
}

// Skips a test, aloud, where there are no fibers.
inline bool no_fibers() {
  if constexpr (!executor::available) MESSAGE(std::string(executor::unavailable_reason));
  return !executor::available;
}
#endif

}  // namespace polymoe::executor_test
