// The arms of paper D on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "../experiment/find_gpu.cuh"
#include "arms.hpp"

std::string paper_d::find_gpu(std::string& missing) { return experiment::find_gpu(missing); }

paper_d::result paper_d::run_on_gpu(routing how, const std::string& name, const settings& s, const options& o,
                                    std::uint64_t seed, const images& data) {
  return run_arm<polymoe::bf16, polymoe::cuda>(how, name, s, o, seed, data);
}
