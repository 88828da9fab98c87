// The layers of experts of paper D on the CPU, but for blocks behind a router that learns.
#include "layers.hpp"

namespace paper_d {

using polymoe::cpu;

template layer<float, cpu>::config token_layer<float, cpu>(const layer_sizes&, int k);
template layer<float, cpu>::config wide_layer<float, cpu>(const layer_sizes&, int k);
template layer<float, cpu>::config oracle_blocks<float, cpu>(const layer_sizes&);
template void set_experts<float, cpu>(layer<float, cpu>&, const int*);

}  // namespace paper_d
