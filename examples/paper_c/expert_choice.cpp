// Expert choice and Soft MoE on the CPU.
#include "expert_choice.hpp"

namespace paper_c {

using polymoe::cpu;

template layer<float, cpu>::config expert_choice<float, cpu>(router, double capacity, const layer_sizes&);
template layer<float, cpu>::config soft<float, cpu>(double capacity, const layer_sizes&);

}  // namespace paper_c
