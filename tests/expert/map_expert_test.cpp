// Experts on feature maps, expert::conv_block and expert::depthwise_block, in mixtures: gradients against differences,
// tangents, number types, threads.
// with: maps
#include "map_cases.hpp"

namespace polymoe {
namespace {

using namespace map_cases;

TEST_CASE("a mixture of map experts: gradients, tangents, number types, threads") {
  check_all<conv_mix, true>(3, 21);
  check_all<depthwise_mix, true>(2, 19);
}

}  // namespace
}  // namespace polymoe
