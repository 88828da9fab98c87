// Soft MoE over images on a GPU against the CPU backend: the text that runs with a stand-in for cuBLASLt elsewhere, and
// sizes only a GPU is quick enough for.
#include "../executor/slot_layer_test.cpp"

TEST_CASE("images of real sizes") {
  check<soft_spec<bf16>>({.units = 16 * 196,
                          .experts = 196,
                          .dim = 384,
                          .hidden = 1536,
                          .group_size = 196,
                          .with_bad = true,
                          .seed = 31});
  check<soft_spec<bf16>>(
      {.units = 4 * 576, .experts = 64, .dim = 192, .hidden = 768, .group_size = 576, .seed = 32, .slots = 9});
  check<soft_spec<float>>({.units = 8 * 197,
                           .experts = 33,
                           .dim = 200,
                           .hidden = 384,
                           .group_size = 197,
                           .with_bad = true,
                           .seed = 33,
                           .slots = 3});
  check<soft_spec<double>>(
      {.units = 4 * 101, .experts = 60, .dim = 192, .hidden = 200, .group_size = 101, .seed = 34});
}
