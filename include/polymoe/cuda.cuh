// Umbrella of the CUDA backend: needs nvcc (C++20).  It offers the parts of a layer, which a program launches on its own
// stream: the router forward and backward, the grouped products of experts, gather and combine.  dispatch/sort.cuh, which
// routers with priority by gate or probability need, is not in it: it includes CUB, ten seconds of compile time.
#pragma once

#include "backend/cuda/dispatch/grouped.cuh"
#include "backend/cuda/dispatch/move.cuh"
#include "backend/cuda/dispatch/route.cuh"
#include "polymoe.hpp"
