// The heads as the paper's text has them.
#include "heads.hpp"

namespace paper_b {

template layer<float, polymoe::cpu>::config published_head<float, polymoe::cpu>(head, index features, index classes);

// As many as the heads as coded have: the models are as large.
static_assert(head_params<soft_published<float>>(512, 10) == 271'960);
static_assert(head_params<sparse_published<float>>(512, 10) == 276'064);

}  // namespace paper_b
