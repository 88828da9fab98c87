// Umbrella of the CUDA backend: needs nvcc (C++20).  polymoe::layer<Spec, polymoe::cuda> is a layer on the GPU, with
// the policies, parameters and results of the CPU's; its parts (router, grouped products of experts, gather and
// combine) can be launched on their own.  Needs cuBLASLt (CUDA::cublasLt) at link time.  dispatch/sort.cuh, which
// routers with priority by gate or probability need, is not in it: it includes CUB, ten seconds of compile time.
#pragma once

#include "backend/cuda/dispatch/map_expert.cuh"
#include "backend/cuda/dispatch/router_kernel.cuh"
#include "backend/cuda/dispatch/slot_move.cuh"
#include "backend/cuda/dispatch/tiled_expert.cuh"
#include "polymoe.hpp"
