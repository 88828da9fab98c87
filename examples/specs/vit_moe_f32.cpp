#include <polymoe/specs.hpp>

template class polymoe::detail::working_layer<polymoe::specs::vit_moe<float>, polymoe::cpu>;
