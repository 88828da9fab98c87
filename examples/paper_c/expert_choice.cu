// Expert choice and Soft MoE on a GPU.
#include <polymoe/cuda.cuh>

#include "expert_choice.hpp"

template paper_c::layer<polymoe::bf16, polymoe::cuda>::config paper_c::expert_choice<polymoe::bf16, polymoe::cuda>(paper_c::router, int, const paper_c::layer_sizes&);
template paper_c::layer<polymoe::bf16, polymoe::cuda>::config paper_c::soft<polymoe::bf16, polymoe::cuda>(int, const paper_c::layer_sizes&);
