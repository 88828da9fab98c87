// Token choice on the CPU.
#include "token_choice.hpp"

namespace paper_c {

using polymoe::cpu;

template layer<float, cpu>::config token_choice<float, cpu>(router, int capacity, const layer_sizes&);

}  // namespace paper_c
