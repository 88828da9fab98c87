// What a trainer says of a step, and of an epoch or an evaluation.
#pragma once

#include <vector>

#include "telemetry.hpp"

namespace polymoe::inline v0 {

/// What one step did.
struct train_step {
  double loss = 0, balance_loss = 0, accuracy = 0, learning_rate = 0, grad_norm = 0;
  double drop_rate = 0, max_over_mean = 0, load_cv = 0;
  double entropy = 0, temperature = 1;  ///< mean over layers of the routers' entropy, in nats; the routers' temperature
  index images = 0;
  bool has_experts = false;
};

/// What one epoch of training or one evaluation gave; sums over images, not means of batch means.
struct train_summary {
  double loss = 0, accuracy = 0, seconds = 0, images_per_second = 0;
  index images = 0;
  model_telemetry experts;
  std::vector<index> confusion;                   ///< [classes, classes] true x predicted (evaluation only)
  std::vector<std::vector<double>> class_expert;  ///< per layer [classes, E] (evaluation only)
};

}  // namespace polymoe
