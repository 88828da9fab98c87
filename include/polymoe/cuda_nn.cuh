// Umbrella of models and training on CUDA: the layers of nn/ and train/ find their kernels by the backend in their
// type, as in nn::vit<nn::named<"moe", layer<my_spec, cuda>>>.  Beside cuda.cuh, because layers alone compile faster.
#pragma once

#include "backend/cuda/dispatch/attention.cuh"
#include "backend/cuda/dispatch/linear.cuh"
#include "backend/cuda/dispatch/loss.cuh"
#include "backend/cuda/dispatch/norm.cuh"
#include "backend/cuda/dispatch/optimizer.cuh"
#include "backend/cuda/dispatch/pointwise.cuh"
#include "backend/cuda/dispatch/pool.cuh"
#include "backend/cuda/dispatch/training.cuh"
#include "cuda.cuh"
