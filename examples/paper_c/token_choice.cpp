#include "token_choice.hpp"

template paper_c::layer<float, polymoe::cpu>::config paper_c::token_choice<float, polymoe::cpu>(paper_c::router, int, const paper_c::layer_sizes&);
