// Classifier heads, of experts and dense, on the CPU.
#include "heads.hpp"

namespace paper_a {

template layer<float, polymoe::cpu>::config expert_head<float, polymoe::cpu>(kind, const head_sizes&);
template dense<float, polymoe::cpu>::config dense_head<float, polymoe::cpu>(const head_sizes&);

}  // namespace paper_a
