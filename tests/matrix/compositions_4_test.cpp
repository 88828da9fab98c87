// Part 4 of the tested compositions (compositions.hpp, part.hpp).
// timeout: 600
// with: third
#include "part.hpp"

TEST_CASE("compositions, part 4") { matrix::examine_part<4>(); }
