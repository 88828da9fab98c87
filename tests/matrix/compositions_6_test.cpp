// Part 6 of the tested compositions (compositions.hpp, part.hpp).
// timeout: 600
// with: fourth
#include "part.hpp"

TEST_CASE("compositions, part 6") { matrix::examine_part<6>(); }
