// Token choice on a GPU.
#include <polymoe/cuda.cuh>

#include "token_choice.hpp"

template paper_c::layer<polymoe::bf16, polymoe::cuda>::config paper_c::token_choice<polymoe::bf16, polymoe::cuda>(paper_c::router, int, const paper_c::layer_sizes&);
