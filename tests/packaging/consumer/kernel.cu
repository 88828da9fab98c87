// A user's .cu file: a host/device function of the library inside a kernel.  Without a GPU the program still starts.
#include <cstdio>
#include <polymoe/polymoe.hpp>

__global__ void round_up_kernel(polymoe::index* n) { *n = polymoe::round_up(*n, 16); }

int main() {
  int devices = 0;
  bool ok = polymoe::round_up(17, 16) == 32;
  if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) {
    polymoe::index n = 17, *p = nullptr;
    ok = ok && cudaMalloc(&p, sizeof n) == cudaSuccess;
    cudaMemcpy(p, &n, sizeof n, cudaMemcpyHostToDevice);
    round_up_kernel<<<1, 1>>>(p);
    ok = ok && cudaMemcpy(&n, p, sizeof n, cudaMemcpyDeviceToHost) == cudaSuccess && n == 32;
    cudaFree(p);
  }
  std::printf("polymoe %d.%d.%d: %s (%d devices)\n", POLYMOE_VERSION_MAJOR, POLYMOE_VERSION_MINOR,
              POLYMOE_VERSION_PATCH, ok ? "ok" : "wrong", devices);
  return ok ? 0 : 1;
}
