// Sparse transport on a GPU against the CPU: the text that the host executor runs, and groups that fill the GPU.
#include "../executor/transport_kernel_test.cpp"

TEST_CASE("transport plans of groups of real sizes, by many blocks") {
  check<picked<double>>({.units = 16384, .experts = 32, .factor = 2, .seed = 62}, 20);
  check<chosen>({.units = 16384, .experts = 32, .seed = 63}, 20);
}
