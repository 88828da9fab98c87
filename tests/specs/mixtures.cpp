#include <polymoe/specs.hpp>

template class polymoe::detail::working_layer<polymoe::specs::soft_mixture<float>, polymoe::cpu>;
template class polymoe::detail::working_layer<polymoe::specs::soft_head<float>, polymoe::cpu>;
template class polymoe::detail::working_layer<polymoe::specs::soft_head<double>, polymoe::cpu>;
template class polymoe::detail::working_layer<polymoe::specs::sparse_head<float>, polymoe::cpu>;
