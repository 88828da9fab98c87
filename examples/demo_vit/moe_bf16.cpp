// specs: vit_moe_bf16
#include "arm_moe.hpp"

template demo::arm_result demo::run_moe<polymoe::bf16>(const demo::settings&, const polymoe::train_test&);
