// What the experts of a run served: figures and lists of a result, and a file that the next epoch is compared with.
#pragma once

#include <polymoe/analysis/routing_choices.hpp>
#include <polymoe/train/trainer.hpp>

#include "experiment.hpp"

namespace experiment {

using layer_choices = std::vector<polymoe::analysis::routing_choices>;  ///< one a layer of experts

/// Lists with one number an epoch that add_epoch() writes; NaN where there is nothing to say.
inline constexpr const char* epoch_curves[] = {"switched_first", "switched_set", "class_information"};

/// Adds an epoch to the curves: share of the validation units that switched since the epoch before, and what experts
/// tell of the class, each a mean over layers.  `validation` has the plans `now`.
void add_epoch(result&, const polymoe::train_summary& validation, const layer_choices& before,
               const layer_choices& now);
/// Adds the figures of the test images: means over layers, "switched_first" and "switched_set" of the last epoch; and
/// lists of the last layer: "together" [E, E], "experts_of_unit" [E + 1].
void add_use(result&, const polymoe::train_summary& test, const layer_choices&);

void write_choices(const std::string& path, const layer_choices&);
layer_choices read_choices(const std::string& path);

}  // namespace experiment
