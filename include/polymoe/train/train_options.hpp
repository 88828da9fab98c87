// What a training run is asked to do: its recipe, what of it is refused, and what two parts of one run must share.
#pragma once

#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "augment.hpp"
#include "dataset.hpp"
#include "schedule.hpp"
#include "temperature.hpp"

namespace polymoe::inline v0 {

struct train_options {
  index batch = 128;
  index epochs = 6;
  index steps = 0;  ///< of the whole run, in the place of `epochs`; the last epoch may be a short one; 0: whole epochs
  double learning_rate = 2e-3;
  learning_rate_schedule::shape schedule = learning_rate_schedule::shape::cosine;
  std::vector<double> milestones{};  ///< schedule `steps`: epochs at whose start the rate is multiplied by gamma
  double gamma = 0.1;
  double weight_decay = 0.05;
  bool decay_all = false;  ///< norms, biases, positions and routers decay too, as with PyTorch's plain SGD
  double warmup_epochs = 0.5;
  double clip_norm = 1.0;  ///< 0: no clipping
  double smoothing = 0.0;  ///< label smoothing
  double noise = 1.0;      ///< multiplies router noise
  /// For each class the expert its images are meant for, or -1: context::targets of every call, training and
  /// evaluation. balance::supervised learns them; a router told by a table (fixed) reads them at trainer::targets().
  std::vector<int> expert_of_class{};
  index units_per_image = 1;  ///< targets of an image: 1 where whole images are routed, its tokens where tokens are
  /// Of the routers, step by step; empty: step_state::temperature stays what the caller made it.  Evaluation uses that
  /// of the last step.
  std::optional<temperature_schedule> temperature{};
  index accumulate = 1;  ///< micro-batches per step; their gradients are averaged
  double ema = 0.0;      ///< decay of the averaged weights for evaluate_average; 0: none are kept
  augment_options augment{};
  std::uint64_t seed = 1;
  int threads = 1;
  bool graph = true;               ///< CUDA: from the second step on the step is one graph that is replayed
  std::size_t resident_bytes = 0;  ///< as in loader_options

  /// These options; throws where they do not fit together, or not the data.
  const train_options& checked(const train_test& data) const;
  /// The rate of every step of a run whose epochs have so many steps; its `total` is the number of steps.
  learning_rate_schedule rates(index steps_per_epoch) const {
    learning_rate_schedule s;
    s.how = schedule, s.gamma = gamma, s.peak = learning_rate;
    s.total = steps > 0 ? steps : steps_per_epoch * epochs;
    const auto in_steps = [&](double n) { return static_cast<index>(n * static_cast<double>(steps_per_epoch)); };
    s.warmup = in_steps(warmup_epochs);
    for (const double epoch : milestones) s.milestones.push_back(in_steps(epoch));
    return s;
  }
  /// What has to be equal for a checkpoint to fit: number type, data, batch, epochs, seed and the recipe.
  std::string identity(std::string_view numbers, index images) const;
};

inline const train_options& train_options::checked(const train_test& data) const {
  require(batch >= 1, "trainer: batch is ", batch, ", it must be at least 1");
  require(epochs >= 1, "trainer: epochs is ", epochs, ", it must be at least 1");
  require(steps >= 0, "trainer: steps is ", steps, ", it must not be negative (0: whole epochs)");
  require(threads >= 1, "trainer: threads is ", threads, ", it must be at least 1");
  require(accumulate >= 1, "trainer: accumulate is ", accumulate, ", it must be at least 1");
  require(ema >= 0 && ema < 1, "trainer: ema is ", ema, ", it must lie in [0, 1)");
  require(data.train.size() >= batch, "trainer: ", data.train.size(), " training images are less than one batch of ",
          batch);
  require(data.train.size() / batch >= accumulate, "trainer: an epoch has ", data.train.size() / batch,
          " batches, one step accumulates ", accumulate);
  require(expert_of_class.empty() || static_cast<index>(expert_of_class.size()) == data.train.classes(),
          "trainer: expert_of_class has ", expert_of_class.size(), " entries, the data set ", data.train.classes(),
          " classes");
  require(expert_of_class.empty() || !augment.mixes(), "trainer: expert_of_class names one expert for an image, mixup ",
          augment.mixup, " and cutmix ", augment.cutmix, " give it two classes");
  require(units_per_image >= 1, "trainer: units_per_image is ", units_per_image, ", it must be at least 1");
  require(data.test.features() == data.train.features() && data.test.classes() == data.train.classes(),
          "trainer: test images have ", data.test.features(), " values and ", data.test.classes(),
          " classes, training images ", data.train.features(), " and ", data.train.classes());
  return *this;
}

inline std::string train_options::identity(std::string_view numbers, index images) const {
  std::ostringstream s;
  s.precision(17);
  const augment_options& a = augment;
  s << numbers << ", images " << images << ", batch " << batch << ", epochs " << epochs << ", seed " << seed << ", lr "
    << learning_rate << ", decay " << weight_decay << ", warm-up " << warmup_epochs << ", clip " << clip_norm
    << ", smoothing " << smoothing << ", noise " << noise << ", schedule " << static_cast<int>(schedule) << ' '
    << gamma;
  for (const double epoch : milestones) s << ' ' << epoch;
  for (const int e : expert_of_class) s << " >" << e;
  if (steps > 0) s << ", steps " << steps;
  s << (decay_all ? ", all decay" : "") << ", accumulate " << accumulate << ", ema " << ema << ", pad " << a.pad
    << ", border " << static_cast<int>(a.outside) << ", flip " << static_cast<int>(a.mirror) << ", cutout " << a.cutout;
  if (a.rand_operations > 0) s << ", rand augment " << a.rand_operations << ' ' << a.rand_strength;
  if (a.mixes()) s << ", mixup " << a.mixup << ", cutmix " << a.cutmix;
  if (temperature) s << ", " << temperature->text();
  return s.str();
}

}  // namespace polymoe
