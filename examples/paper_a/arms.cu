// The arms of paper A on a GPU.
#include <polymoe/backend/cuda/dispatch/conv.cuh>
#include <polymoe/backend/cuda/dispatch/group_norm.cuh>
#include <polymoe/backend/cuda/dispatch/pool2d.cuh>
#include <polymoe/cuda_nn.cuh>

#include "../experiment/find_gpu.cuh"
#include "arms.hpp"

std::string paper_a::find_gpu(std::string& missing) { return experiment::find_gpu(missing); }

paper_a::result paper_a::run_on_gpu(kind which, const std::string& name, index hidden, const settings& s,
                                    const options& o, std::uint64_t seed, const images& data) {
  return run_arm<polymoe::bf16, polymoe::cuda>(which, name, hidden, s, o, seed, data);
}
