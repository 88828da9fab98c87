// The heads as the paper's text has them.
#include "heads.hpp"

namespace paper_b {

template layer<float, polymoe::cpu>::config published_head<float, polymoe::cpu>(head, index features, index classes);

}  // namespace paper_b
