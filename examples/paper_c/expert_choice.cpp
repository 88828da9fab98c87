#include "expert_choice.hpp"

template paper_c::layer<float, polymoe::cpu>::config paper_c::expert_choice<float, polymoe::cpu>(paper_c::router, int, const paper_c::layer_sizes&);
template paper_c::layer<float, polymoe::cpu>::config paper_c::soft<float, polymoe::cpu>(int, const paper_c::layer_sizes&);
