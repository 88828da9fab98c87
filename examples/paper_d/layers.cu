// The layers of experts of paper D on a GPU that ./check compiles too: one of every kind.
#include <polymoe/cuda_nn.cuh>

#include "layers.hpp"

namespace paper_d {

using polymoe::bf16, polymoe::cuda, polymoe::unit::mean;

template layer<bf16, cuda>::config token_layer_of<bf16, cuda, 1>(const layer_sizes&);
template layer<bf16, cuda>::config wide_layer<bf16, cuda>(const layer_sizes&, int k);
template layer<bf16, cuda>::config oracle_blocks<bf16, cuda>(const layer_sizes&);
template void set_experts<bf16, cuda>(layer<bf16, cuda>&, const int*);
template layer<bf16, cuda>::config learned_blocks<bf16, cuda, 2, mean>(const layer_sizes&);
template layer<bf16, cuda>::config told_blocks<bf16, cuda, 1, mean>(const layer_sizes&, double lambda);

}  // namespace paper_d
