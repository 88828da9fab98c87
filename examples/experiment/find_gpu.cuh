// Whether a library of CUDA arms has a GPU to run on.
#pragma once

#include <string>

#include <polymoe/backend/cuda/graph.cuh>

namespace experiment {

/// The name of the GPU, or "" and in `missing` what is missing.
inline std::string find_gpu(std::string& missing) {
  const polymoe::device::availability found = polymoe::device::find_gpu();
  missing = found.usable ? "" : found.text;
  return found.usable ? found.text : "";
}

}  // namespace experiment
