// specs: vit_moe_f32
#include "arm_moe.hpp"

template demo::arm_result demo::run_moe<float>(const demo::settings&, const polymoe::train_test&);
