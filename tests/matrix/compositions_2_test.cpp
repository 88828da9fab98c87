// Part 2 of the tested compositions (compositions.hpp, part.hpp).
// timeout: 600
// with: second
#include "part.hpp"

TEST_CASE("compositions, part 2") { matrix::examine_part<2>(); }
