// The layers of experts of paper D on a GPU.
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

namespace paper_d {

template layer<polymoe::bf16, polymoe::cuda>::config token_layer<polymoe::bf16, polymoe::cuda>(const layer_sizes&, int k);
template layer<polymoe::bf16, polymoe::cuda>::config learned_blocks<polymoe::bf16, polymoe::cuda>(const layer_sizes&, int k);
template layer<polymoe::bf16, polymoe::cuda>::config told_blocks<polymoe::bf16, polymoe::cuda>(const layer_sizes&, int k, double lambda);
template layer<polymoe::bf16, polymoe::cuda>::config oracle_blocks<polymoe::bf16, polymoe::cuda>(const layer_sizes&);
template void set_experts<polymoe::bf16, polymoe::cuda>(layer<polymoe::bf16, polymoe::cuda>&, const int*);

}  // namespace paper_d
