#include <polymoe/specs.hpp>

template class polymoe::detail::working_layer<polymoe::specs::switch_top1<float>, polymoe::cpu>;
template class polymoe::detail::working_layer<polymoe::specs::dropless_top2<float>, polymoe::cpu>;
template class polymoe::detail::working_layer<polymoe::specs::dropless_top2<double>, polymoe::cpu>;
