// Learned thresholds and balanced assignment on a GPU against the CPU: the text that the host executor runs, and an
// auction by many blocks.
#include "../executor/balanced_kernel_test.cpp"

TEST_CASE("balanced assignment of a group of a real size, by many blocks") {
  assign<assigned_spec<double>>({.units = 16384, .experts = 32, .seed = 92}, 0.1f);
}
