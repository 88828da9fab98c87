// The committed list in parts, one source each.
#pragma once

#include "compositions.hpp"
#include "examine.hpp"

namespace matrix {

inline constexpr std::size_t parts = 8;

template <std::size_t Part>
void examine_part() {
  using list = std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>;
  constexpr std::size_t n = std::tuple_size_v<list> - 1;
  examine_all<list, Part * n / parts, (Part + 1) * n / parts>();
}

}  // namespace matrix
