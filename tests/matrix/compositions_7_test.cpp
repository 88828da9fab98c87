// Part 7 of the tested compositions (compositions.hpp, part.hpp).
// timeout: 600
// with: fourth
#include "part.hpp"

TEST_CASE("compositions, part 7") { matrix::examine_part<7>(); }
