// Convolutions, pooling, group norm and batch norm of feature maps on a GPU against the CPU: the text that runs with a
// stand-in for cuBLASLt elsewhere, float as well, and maps of real sizes.
#include "../executor/maps_kernel_test.cpp"

TEST_CASE("maps in float, and of real sizes") {
  using namespace maps_test;
  check_conv<float>({3, 5, 7, 6, 3, 1, 1}, 4);
  check_conv<float>({4, 6, 9, 8, 3, 2, 1, false}, 5);
  check_conv<float>({5, 5, 7, 6, 3, 1, 1, true, true}, 4);
  check_conv<bf16>({64, 64, 32, 32, 3, 1, 1, false}, 5);
  check_conv<float>({64, 128, 16, 16, 3, 2, 1, false}, 5);
  check_conv<bf16>({96, 96, 28, 28, 7, 1, 3, true, true}, 5);
  check_pool2d<float>(64, 32, 32, 3, 2, 1, nn::pool2d_kind::max, 5);
  check_group_norm<bf16>(256, 32, 196, 5);
  check_batch_norm<bf16>(64, 16384);
  check_batch_norm<float>(33, 4097);
}
