// Soft MoE over the batch on a GPU against the CPU backend, as slot_layer_test.cu.
#include "../executor/slot_batch_test.cpp"

TEST_CASE("batches of real sizes, in pieces") {
  check<soft_spec<bf16, axis::batch>>(
      {.units = 8193, .experts = 32, .dim = 192, .hidden = 384, .with_bad = true, .seed = 35, .slots = 2});
  check<soft_spec<double, axis::batch>>({.units = 4097, .experts = 50, .dim = 40, .hidden = 64, .seed = 36});
}
