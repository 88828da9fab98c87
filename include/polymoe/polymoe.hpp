// polymoe: Mixture-of-Experts layers for vision, composed at compile time from policies.
//
// This umbrella needs a C++20 compiler and nothing else.  Define POLYMOE_WITH_ONEDNN / POLYMOE_WITH_CBLAS (the CMake
// targets do) for fast products.  The CUDA backend has its own umbrella, polymoe/cuda.cuh.
#pragma once

#include "balance/gshard.hpp"
#include "balance/importance.hpp"
#include "balance/importance_of_scores.hpp"
#include "balance/kl.hpp"
#include "balance/load.hpp"
#include "balance/loss_free_bias.hpp"
#include "balance/relu_l1.hpp"
#include "balance/supervised.hpp"
#include "balance/switch_loss.hpp"
#include "balance/z_loss.hpp"
#include "core/workspace.hpp"
#include "expert/conv_block.hpp"
#include "expert/depthwise_block.hpp"
#include "expert/gated_mlp.hpp"
#include "expert/identity.hpp"
#include "layer/layer.hpp"
#include "plan/dense_plan.hpp"
#include "router/expert_choice.hpp"
#include "router/fixed.hpp"
#include "router/positive.hpp"
#include "router/soft_slots.hpp"
#include "score/largest_softmax.hpp"
#include "score/logit_dropout.hpp"
#include "score/noisy.hpp"
#include "score/sigmoid.hpp"
#include "score/sinkhorn.hpp"
#include "score/sparse_transport.hpp"
#include "score/standardized.hpp"
