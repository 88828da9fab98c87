// Part 1 of the tested compositions (compositions.hpp, part.hpp).
// timeout: 600
// with: first
#include "part.hpp"

TEST_CASE("compositions, part 1") { matrix::examine_part<1>(); }
