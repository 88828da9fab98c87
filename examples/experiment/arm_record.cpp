// What one arm under one seed writes and says.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <polymoe/analysis/calibration.hpp>

#include "program.hpp"
#include "train_arm.hpp"

namespace experiment {

polymoe::train_options options_of(const settings& s, std::uint64_t seed) {
  polymoe::train_options o;
  o.batch = s.batch, o.epochs = s.epochs, o.steps = s.steps, o.learning_rate = s.learning_rate,
  o.weight_decay = s.weight_decay;
  o.seed = seed, o.threads = s.threads, o.warmup_epochs = 0, o.clip_norm = 0;
  if (!s.milestones.empty()) {
    o.schedule = polymoe::learning_rate_schedule::shape::steps;
    for (const double share : s.milestones) o.milestones.push_back(share * static_cast<double>(s.epochs));
  }
  if (s.augment == "crop") o.augment.pad = 4, o.augment.mirror = polymoe::flip::random;
  o.augment.mixup = s.mixup, o.augment.cutmix = s.cutmix, o.augment.cutout = s.cutout, o.smoothing = s.smoothing;
  if (!s.rand_augment.empty()) {
    o.augment.rand_operations = static_cast<int>(s.rand_augment.at(0)), o.augment.rand_strength = s.rand_augment.at(1);
    polymoe::require(o.augment.rand_operations == s.rand_augment[0], "--rand-augment: ", s.rand_augment[0],
                     " operations, a whole number is needed");
  }
  return o;
}
polymoe::train_options adamw_recipe(const settings& s, std::uint64_t seed) {
  polymoe::train_options o = options_of(s, seed);
  o.clip_norm = 1, o.warmup_epochs = std::min(1.0, 0.1 * static_cast<double>(s.epochs));
  return o;
}

arm_record::arm_record(const std::string& name, std::uint64_t seed, const settings& s)
    : settings_(s),
      folder_(folder_of(s, name, seed)),
      checkpoint_(folder_ + last_checkpoint),
      identity_(identity_of(s)),
      label_(name + ", seed " + std::to_string(seed)) {
  program::make_folder(folder_);
  result_.arm = name, result_.seed = seed, result_.commit = s.commit;
}

bool arm_record::resumes() const { return settings_.resume && std::filesystem::exists(checkpoint_); }

void arm_record::resume(const std::map<std::string, std::string>& meta, index epoch) {
  const auto it = meta.find("experiment.identity");
  polymoe::require(it != meta.end() && it->second == identity_, checkpoint_, ": belongs to another run, this one is ",
                   identity_);
  const std::string part = folder_ + "/part.json";
  if (std::filesystem::exists(part)) result_ = read_result(part, identity_), result_.commit = settings_.commit;
  const auto shorten = [epoch](auto& list) {
    list.resize(static_cast<std::size_t>(std::min<index>(epoch, static_cast<index>(list.size()))));
  };
  shorten(result_.epochs);
  for (const char* curve : epoch_curves)
    if (const auto kept = result_.lists.find(curve); kept != result_.lists.end()) shorten(kept->second);
  if (epoch > 0 && std::filesystem::exists(choices_file(epoch))) before_ = read_choices(choices_file(epoch));
}

std::string arm_record::choices_file(index epoch) const {
  return folder_ + "/choices-" + std::to_string(epoch) + ".safetensors";
}
polymoe::analysis::routing_choices& arm_record::choices(std::size_t l) {
  choices_.resize(std::max(choices_.size(), l + 1));
  return choices_[l];
}

void arm_record::begin(index epoch, index steps_per_epoch) {
  csv_ = std::make_unique<polymoe::csv_log>(
      folder_ + "/epochs.csv",
      std::vector<std::string>{"train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds",
                               "drop_rate", "entropy"},
      settings_.resume ? epoch : 0);
  bar_ = std::make_unique<polymoe::progress>(settings_.epochs, steps_per_epoch);
}

void arm_record::step(const polymoe::train_step& x, index steps) {
  polymoe::step_report shown;
  shown.loss = x.loss, shown.lr = x.learning_rate, shown.grad_norm = x.grad_norm;
  if (x.has_experts) shown.dropped = x.drop_rate, shown.load_spread = x.max_over_mean;
  bar_->step(steps * x.images, shown, steps);
}

void arm_record::end_epoch(index epoch, const polymoe::train_summary& train, const polymoe::train_summary& validation) {
  epoch_figures e{train.loss, train.accuracy, validation.loss, validation.accuracy, train.seconds, {}, 0, 0};
  if (train.experts.any())
    e.load = train.experts.layers.back().load, e.drop_rate = train.experts.drop_rate(),
    e.entropy = train.experts.entropy();
  result_.epochs.push_back(e);
  add_epoch(result_, validation, before_, choices_);
  before_ = std::move(choices_);
  choices_.clear();
  csv_->row(epoch, {e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy, e.seconds, e.drop_rate,
                    e.entropy});
  char text[200];
  std::snprintf(
      text, sizeof text,
      "%s, epoch %lld/%lld: train loss %.4f accuracy %.4f | validation loss %.4f accuracy %.4f | %.0f images/s",
      label_.c_str(), static_cast<long long>(epoch + 1), static_cast<long long>(settings_.epochs), e.train_loss,
      e.train_accuracy, e.validation_loss, e.validation_accuracy, train.images_per_second);
  bar_->message(text);
  if (const std::string alarm = train.experts.load_alarm(); !alarm.empty())
    bar_->message(label_ + ": " + alarm + " over the whole epoch");
}

// A run that is killed between two of these files goes on from the checkpoint that is there, so what belongs to it
// stays until the next one is complete: epochs too many are dropped, and each epoch has its own file of choices.
void arm_record::save(index epoch) const {
  write_result(folder_ + "/part.json", result_, identity_);
  if (epoch > 0 && !before_.empty()) write_choices(choices_file(epoch), before_);
}
void arm_record::saved(index epoch) const {
  std::error_code ignored;
  std::filesystem::remove(choices_file(epoch - 1), ignored);
}

result arm_record::stopped_after(index step) {
  bar_->message(label_ + ": stopped after step " + std::to_string(step) + ", saved in " + checkpoint_);
  return stopped();
}
result arm_record::stopped() {
  result_.interrupted = true;
  return result_;
}

void arm_record::test(const polymoe::train_summary& test, const images& data, const std::vector<float>& logits) {
  result& r = result_;
  const auto calibration =
      polymoe::analysis::calibrate<float>({logits.data(), data.test.size(), data.test.classes()}, data.test.labels);
  r.figures["nll"] = calibration.nll, r.figures["brier"] = calibration.brier, r.figures["ece"] = calibration.ece;
  for (const auto& bin : calibration.bins) {
    r.lists["reliability_count"].push_back(static_cast<double>(bin.count));
    r.lists["reliability_confidence"].push_back(bin.confidence),
        r.lists["reliability_accuracy"].push_back(bin.accuracy);
  }
  if (!data.skipped.empty()) r.figures["skipped_images"] = static_cast<double>(data.skipped.size());
  double best = 0, best_train = 0, seconds = 0, best_epoch = 0, best_train_epoch = 0;
  for (std::size_t i = 0; i < r.epochs.size(); ++i) {
    const epoch_figures& e = r.epochs[i];
    if (e.validation_accuracy > best) best = e.validation_accuracy, best_epoch = static_cast<double>(i + 1);
    if (e.train_accuracy > best_train) best_train = e.train_accuracy, best_train_epoch = static_cast<double>(i + 1);
    seconds += e.seconds;
  }
  r.figures["test_accuracy"] = test.accuracy, r.figures["test_loss"] = test.loss;
  r.figures["best_validation_accuracy"] = best, r.figures["best_train_accuracy"] = best_train;
  r.figures["best_validation_epoch"] = best_epoch, r.figures["best_train_epoch"] = best_train_epoch;
  r.figures["train_seconds"] = seconds, r.figures["inference_images_per_second"] = test.images_per_second;
  if (test.experts.any()) {
    r.figures["drop_rate"] = test.experts.drop_rate(), r.figures["load_cv"] = test.experts.load_cv();
    r.figures["entropy"] = test.experts.entropy(), r.figures["dead_experts"] = test.experts.dead_experts();
    double wishes = 0, overflow = 0;
    for (const auto& l : test.experts.layers)
      wishes += static_cast<double>(l.choices), overflow += static_cast<double>(l.overflow);
    r.figures["overflow_rate"] = wishes > 0 ? overflow / wishes : 0;  // served by a fallback, or by the unit itself
    r.lists["load"] = test.experts.layers.back().load;
    r.lists["class_expert"] = test.class_expert.back();
    add_use(r, test, choices_);
  }
  for (const index n : test.confusion) r.lists["confusion"].push_back(static_cast<double>(n));
}

bool arm_record::is_best() const {
  const double now = result_.epochs.back().validation_accuracy;
  return std::all_of(result_.epochs.begin(), result_.epochs.end() - 1,
                     [=](const epoch_figures& e) { return e.validation_accuracy < now; });
}
bool arm_record::is_at_loss() const {
  const auto below = [this](const epoch_figures& e) { return e.train_loss < settings_.keep_at_loss; };
  return below(result_.epochs.back()) && std::none_of(result_.epochs.begin(), result_.epochs.end() - 1, below);
}
void arm_record::test_best(const polymoe::train_summary& test) {
  result_.figures["best_test_accuracy"] = test.accuracy, result_.figures["best_test_loss"] = test.loss;
}

result arm_record::finish() const {
  write_result(folder_ + "/result.json", result_, identity_);
  saved(settings_.epochs + 1);
  return result_;
}

}  // namespace experiment
