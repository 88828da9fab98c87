// Equality up to a relative error.
#pragma once

#include <doctest/doctest.h>

#include <limits>

namespace moe_test {

/// Equal to `want` within `relative` of the larger of both.  doctest's own Approx adds 1 to the size of the numbers: a
/// number well below its epsilon equals anything small, also 0.  For results that may be
/// rounded away from 0 use Approx.
template <class T>
doctest::Approx close_to(T want, double relative) {
  // Not quite 0, so that 0 equals 0.
  return doctest::Approx(static_cast<double>(want)).epsilon(relative).scale(std::numeric_limits<double>::min());
}

}  // namespace moe_test
