// Part 5 of the tested compositions (compositions.hpp, part.hpp).
// timeout: 600
// with: third
#include "part.hpp"

TEST_CASE("compositions, part 5") { matrix::examine_part<5>(); }
