// Blocks of paper D on the CPU whose router sees the mean over the tokens of an image.  It is six layers: a file of its
// own beside blocks_class.cpp, to be compiled side by side.
#include "layers.hpp"

template paper_d::layer<float, polymoe::cpu>::config paper_d::image_blocks<float, polymoe::cpu, polymoe::unit::mean>(
    routing, const layer_sizes&, int k, double lambda);
