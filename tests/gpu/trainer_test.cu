// Training on a GPU against the CPU backend, and replayed CUDA graphs against eager steps: the text that the host executor
// runs, and the same in bf16.
#include "../executor/trainer_kernel_test.cpp"

TEST_CASE("a replayed training step in bf16 has the bits of the eager one") { replays_equal_eager<bf16>(); }
