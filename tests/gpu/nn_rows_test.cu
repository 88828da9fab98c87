// Losses, layer norm, optimisers, activations, dropout, positions, pooling and patches on a GPU against the CPU: the
// texts that the host executor runs, and tensors of real sizes.
#include "../executor/loss_kernel_test.cpp"
#include "../executor/norm_kernel_test.cpp"
#include "../executor/optimizer_kernel_test.cpp"
#include "../executor/pointwise_kernel_test.cpp"
#include "../executor/pool_kernel_test.cpp"

namespace polymoe::executor_test {
TEST_CASE("rows of real sizes: losses, layer norm, activations, dropout") {
  compare_loss<float>(2049, 1000, 0.1, 0.5, 0.3);
  compare_loss<bf16>(1023, 1000, 0.1, 1);
  compare_norm<bf16>(12608, 192, true);
  compare_norm<float>(2051, 768, false);
  compare_norm<double>(1025, 200, true);
  compare_activation<act::gelu_tanh, bf16>({4097, 768, 0, 0}, 1e-3);
  compare_activation<act::gelu_erf, double>({1025, 200, 0, 0}, bound<double>());
  compare_plain<bf16>({4097, 384, 0, 0}, 4);
  compare_plain<float>({1025, 1000, 0, 0}, 5);
}
}  // namespace polymoe::executor_test
