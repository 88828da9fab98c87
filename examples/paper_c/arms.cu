// The arms of paper C on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "../experiment/find_gpu.cuh"
#include "arms.hpp"

std::string paper_c::find_gpu(std::string& missing) { return experiment::find_gpu(missing); }

paper_c::result paper_c::run_on_gpu(router which, double capacity, const std::string& name, const settings& s,
                                    const options& o, std::uint64_t seed, const images& data, const images& probe) {
  return run_arm<polymoe::bf16, polymoe::cuda>(which, capacity, name, s, o, seed, data, probe);
}
