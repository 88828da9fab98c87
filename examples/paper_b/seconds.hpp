// How long something takes.
#pragma once

#include <chrono>

namespace paper_b {

/// Seconds of f(), once it has run before.
template <class F>
double seconds_of(F f) {
  f();
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace paper_b
