// Blocks of paper D on the CPU whose router sees the class token of an image.
#include "layers.hpp"

namespace paper_d {

using polymoe::cpu, polymoe::unit::class_token;

template layer<float, cpu>::config learned_blocks<float, cpu, 1, class_token>(const layer_sizes&);
template layer<float, cpu>::config learned_blocks<float, cpu, 2, class_token>(const layer_sizes&);
template layer<float, cpu>::config learned_blocks<float, cpu, 4, class_token>(const layer_sizes&);
template layer<float, cpu>::config told_blocks<float, cpu, 1, class_token>(const layer_sizes&, double lambda);
template layer<float, cpu>::config told_blocks<float, cpu, 2, class_token>(const layer_sizes&, double lambda);
template layer<float, cpu>::config told_blocks<float, cpu, 4, class_token>(const layer_sizes&, double lambda);

}  // namespace paper_d
