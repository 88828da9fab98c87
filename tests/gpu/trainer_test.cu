// Training on a GPU: replayed CUDA graphs against eager steps, steps ahead of the host, batches against the CPU's
// loader. The text that the host executor runs, and the same in bf16; the comparison with the CPU's trainer is the
// executor's alone, because nvcc does not read the vector code of the CPU's attention.
#include "../executor/trainer_kernel_test.cpp"

TEST_CASE("a replayed training step in bf16 has the bits of the eager one") { replays_equal_eager<bf16>(); }
