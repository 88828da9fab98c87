#include <polymoe/specs.hpp>

template class polymoe::detail::working_layer<polymoe::specs::vit_moe_bpr<float>, polymoe::cpu>;
template class polymoe::detail::working_layer<polymoe::specs::vit_moe_bpr<polymoe::bf16>, polymoe::cpu>;
