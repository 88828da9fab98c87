// --device auto|cpu|cuda of the examples that are one text: where nvcc compiles them, they run on a GPU as well.
#pragma once

#include <cstdio>
#include <string>

#include <polymoe/backend/cpu/parallel.hpp>
#if defined(__CUDACC__)
#include <polymoe/backend/cuda/graph.cuh>
#endif

namespace program {

/// Calls run(backend) for the backend that `wish` (auto, cpu or cuda) asks for and returns what it returns.  Without a
/// GPU, or without nvcc, "auto" takes the CPU and "cuda" is an error that says what is missing.
template <class Run>
int with_device(const std::string& wish, Run run) {
  std::string missing = "compiled without nvcc (CMake: -DPOLYMOE_CUDA=ON -DPOLYMOE_DEMO_CUDA=ON)";
#if defined(__CUDACC__)
  const polymoe::device::availability gpu = polymoe::device::find_gpu();
  missing = gpu.text;
  if (gpu.usable && wish != "cpu") return std::printf("Device: cuda, %s\n", gpu.text.c_str()), run(polymoe::cuda{});
#endif
  polymoe::require(wish != "cuda", "--device cuda: ", missing);
  if (wish == "auto") std::printf("Device: cpu (--device auto: %s)\n", missing.c_str());
  return run(polymoe::cpu{});
}

}  // namespace program
