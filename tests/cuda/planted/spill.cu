// A kernel that spills registers on purpose: 128 sums alive at once where a thread of 1024 has 64 registers.  Compiled
// with the flags of the other CUDA sources it must be an error, or the gate on spills sees nothing.
__global__ void __launch_bounds__(1024) planted_spill(const float* in, float* out, int n) {
  float sum[128];
#pragma unroll
  for (int i = 0; i < 128; ++i) sum[i] = in[i];
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int i = 0; i < 128; ++i) sum[i] += in[k * 128 + i] * sum[(i + 1) % 128];
  }
#pragma unroll
  for (int i = 0; i < 128; ++i) out[i] = sum[i];
}
