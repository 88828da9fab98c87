// The layers of experts of paper D on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

template paper_d::layer<polymoe::bf16, polymoe::cuda>::config paper_d::token_layer<polymoe::bf16, polymoe::cuda>(const paper_d::layer_sizes&, int);
template paper_d::layer<polymoe::bf16, polymoe::cuda>::config paper_d::learned_blocks<polymoe::bf16, polymoe::cuda>(const paper_d::layer_sizes&, int);
template paper_d::layer<polymoe::bf16, polymoe::cuda>::config paper_d::told_blocks<polymoe::bf16, polymoe::cuda>(const paper_d::layer_sizes&, int, double);
template paper_d::layer<polymoe::bf16, polymoe::cuda>::config paper_d::oracle_blocks<polymoe::bf16, polymoe::cuda>(const paper_d::layer_sizes&);
template void paper_d::set_experts<polymoe::bf16, polymoe::cuda>(paper_d::layer<polymoe::bf16, polymoe::cuda>&, const int*);
