// What one optimiser step did, as the trainer adds it up: read from the backend one step or many steps later.
#pragma once

#include "../backend/cpu/loss.hpp"
#include "optimizer.hpp"
#include "telemetry.hpp"

namespace polymoe::inline v0 {

/// Sums over the micro-batches of a step.
struct step_record {
  index images = 0, correct = 0;
  double loss = 0;                   ///< summed over images
  double balance_loss = 0;           ///< summed over layers and micro-batches
  double load_cv = 0;                ///< likewise
  index layer_calls = 0;             ///< layers times micro-batches
  model_telemetry experts;
  optimizer_report update;

  void add(const loss_report& r, index n) {
    images += n, correct += r.correct;
    loss += r.loss * static_cast<double>(n);
  }
  /// One call of the layer with number `layer` in the model.
  void add(std::size_t layer, const routing_stats& s, double balance) {
    if (experts.layers.size() <= layer) experts.layers.resize(layer + 1);
    experts.layers[layer].add(s);
    balance_loss += balance, load_cv += s.load_cv();
    ++layer_calls;
  }
};

}  // namespace polymoe
