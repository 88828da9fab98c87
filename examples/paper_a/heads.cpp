// Experts in the classifier head on the CPU.
#include "heads.hpp"

namespace paper_a {

template layer<float, polymoe::cpu>::config expert_head<float, polymoe::cpu>(kind, const head_sizes&);

}  // namespace paper_a
