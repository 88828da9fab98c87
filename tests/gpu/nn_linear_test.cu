// Dense products, linear layers, MLP blocks and patch embeddings on a GPU against plain loops and the CPU backend: the
// text that runs with a stand-in for cuBLASLt elsewhere, and sizes of models.
#include "../executor/linear_kernel_test.cpp"

namespace {
TEST_CASE("linear layers, MLP blocks and patch embeddings of real sizes") {
  check_linear<bf16>(1025, 1025, 384, 1152);
  check_linear<float>(1025, 777, 192, 200);
  check_linear<double>(513, 513, 200, 384);
  check_mlp<bf16, act::gelu_tanh>(788, 788, 384, 1536);
  check_mlp<float, act::gelu_erf>(788, 591, 192, 768);
  check_patch_embed<bf16>(32, 4, 0, 0, 5);
  check_patch_embed<float>(32, 16, 8, 4, 5);
}
}  // namespace
