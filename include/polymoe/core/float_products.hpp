// How products of float numbers may be computed, where a backend has a choice.
#pragma once

namespace polymoe::inline v0 {

/// Of dense and expert products of float models; other number types and the CPU have one way.
enum class float_products {
  exact,  ///< products of the stored numbers, sums in float
  tf32    ///< CUDA: operands rounded to 10 bits of fraction (2^-11 of their size), sums in float
};

}  // namespace polymoe
