#include "arm_dense.hpp"

template demo::arm_result demo::run_dense<float>(const demo::settings&, const polymoe::train_test&);
