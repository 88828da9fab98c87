// Blocks of paper D on the CPU whose router sees the mean over the tokens of an image.
#include "layers.hpp"

namespace paper_d {

using polymoe::cpu, polymoe::unit::mean;

template layer<float, cpu>::config learned_blocks<float, cpu, 1, mean>(const layer_sizes&);
template layer<float, cpu>::config learned_blocks<float, cpu, 2, mean>(const layer_sizes&);
template layer<float, cpu>::config learned_blocks<float, cpu, 4, mean>(const layer_sizes&);
template layer<float, cpu>::config told_blocks<float, cpu, 1, mean>(const layer_sizes&, double lambda);
template layer<float, cpu>::config told_blocks<float, cpu, 2, mean>(const layer_sizes&, double lambda);
template layer<float, cpu>::config told_blocks<float, cpu, 4, mean>(const layer_sizes&, double lambda);

}  // namespace paper_d
