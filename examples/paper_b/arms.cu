// The arms of paper B on a GPU.
#include <polymoe/backend/cuda/dispatch/batch_norm.cuh>
#include <polymoe/backend/cuda/dispatch/conv.cuh>
#include <polymoe/cuda_nn.cuh>

#include "../experiment/find_gpu.cuh"
#include "arms.hpp"

std::string paper_b::find_gpu(std::string& missing) { return experiment::find_gpu(missing); }

paper_b::result paper_b::run_on_gpu(head which, const std::string& name, const settings& s, const options& o,
                                    std::uint64_t seed, const images& data, look_function look) {
  return run_arm<polymoe::bf16, polymoe::cuda>(which, name, s, o, seed, data, look);
}
