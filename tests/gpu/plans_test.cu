// Sinkhorn plans on a GPU against the CPU: the text that the host executor runs, and groups that fill the GPU.
#include "../executor/plans_kernel_test.cpp"

TEST_CASE("plans of groups of real sizes, by many blocks") {
  check_plans<picked_by_plan<double>>({.units = 16384, .experts = 32, .scale = 2, .seed = 60}, 20);
  check_plans<token_choice<double>>({.units = 65536, .experts = 64, .scale = 2, .seed = 61}, 20);
}
