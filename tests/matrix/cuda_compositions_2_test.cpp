// Part 2 of the compositions on CUDA (cuda_compositions.hpp), under the host executor; tests/gpu has the same text.
// timeout: 900
// with: cuda_rest
#include "cuda_compositions.hpp"
#include "cuda_examine.hpp"

TEST_CASE("compositions on CUDA, part 2") {
  matrix::examine_part_on_cuda<std::tuple<MATRIX_CUDA_COMPOSITIONS(MATRIX_SPEC) void>, 2>();
}
