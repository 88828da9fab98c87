#include "layers.hpp"

template paper_d::layer<float, polymoe::cpu>::config paper_d::token_layer<float, polymoe::cpu>(const paper_d::layer_sizes&, int);
template paper_d::layer<float, polymoe::cpu>::config paper_d::learned_blocks<float, polymoe::cpu>(const paper_d::layer_sizes&, int);
template paper_d::layer<float, polymoe::cpu>::config paper_d::told_blocks<float, polymoe::cpu>(const paper_d::layer_sizes&, int, double);
template paper_d::layer<float, polymoe::cpu>::config paper_d::oracle_blocks<float, polymoe::cpu>(const paper_d::layer_sizes&);
template void paper_d::set_experts<float, polymoe::cpu>(paper_d::layer<float, polymoe::cpu>&, const int*);
