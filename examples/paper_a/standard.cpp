// Standard convolutions: blocks of two 3 x 3 convolutions.
#include "layers.hpp"

namespace paper_a {

template dense<float, polymoe::cpu>::config standard_block<float, polymoe::cpu>(const block_sizes&);
template layer<float, polymoe::cpu>::config standard_experts<float, polymoe::cpu>(kind, const block_sizes&);

}  // namespace paper_a
