// Part 0 of the tested compositions (compositions.hpp, part.hpp).
// timeout: 600
// with: first
#include "part.hpp"

TEST_CASE("compositions, part 0") { matrix::examine_part<0>(); }
