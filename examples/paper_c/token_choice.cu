// Token choice on a GPU.
#include <polymoe/cuda.cuh>

#include "token_choice.hpp"

namespace paper_c {

template layer<polymoe::bf16, polymoe::cuda>::config token_choice<polymoe::bf16, polymoe::cuda>(router, int capacity,
                                                                                                const layer_sizes&);

}  // namespace paper_c
