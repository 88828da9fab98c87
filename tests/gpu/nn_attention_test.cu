// Attention on a GPU against plain loops in double: the text that the host executor runs, and heads of real models.
#include "../executor/attention_kernel_test.cpp"

namespace polymoe::executor_test {
TEST_CASE("attention of real sizes") {
  compare<bf16>(197, 6, 64, 4);
  compare<bf16>(785, 3, 64, 1);
  compare<bf16>(65, 4, 48, 33);
  compare<float>(197, 3, 64, 3);
  compare<double>(197, 3, 32, 2);
}
}  // namespace polymoe::executor_test
