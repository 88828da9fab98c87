// Standard convolutions: blocks of two 3 x 3 convolutions.
#include "layers.hpp"

namespace paper_a {

template layer<float, polymoe::cpu>::config standard_body<float, polymoe::cpu>(kind, const block_sizes&);

}  // namespace paper_a
