// Expert choice and Soft MoE on a GPU.
#include <polymoe/cuda.cuh>

#include "expert_choice.hpp"

namespace paper_c {

template layer<polymoe::bf16, polymoe::cuda>::config expert_choice<polymoe::bf16, polymoe::cuda>(router,
                                                                                                 double capacity,
                                                                                                 const layer_sizes&);
template layer<polymoe::bf16, polymoe::cuda>::config soft<polymoe::bf16, polymoe::cuda>(double capacity,
                                                                                        const layer_sizes&);

}  // namespace paper_c
