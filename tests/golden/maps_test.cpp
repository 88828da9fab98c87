// Feature maps against PyTorch in float64: convolutions, group and batch norms and pools in one small network, by the
// golden file that generate.py wrote.
#include "map_cases.hpp"

TEST_CASE("a network of feature maps computes what PyTorch computes") {
  polymoe::golden_cases::feature_maps<polymoe::cpu>();
}
