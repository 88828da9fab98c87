// Umbrella of the CUDA backend: needs nvcc (C++20).  What it offers today is the router kernel for token choice and
// mixtures; docs/backends.md has the matrix of what runs where.
#pragma once

#include "backend/cuda/dispatch/route.cuh"
#include "polymoe.hpp"
