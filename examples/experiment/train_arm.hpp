// Trains one model under one seed, with checkpoints, a log and live progress: the part of an experiment that depends on
// the model's type.
#pragma once

#include <cstdio>
#include <filesystem>

#include <polymoe/train/log.hpp>
#include <polymoe/train/progress.hpp>
#include <polymoe/train/trainer.hpp>

#include "experiment.hpp"
#include "interrupt.hpp"

namespace experiment {

inline polymoe::train_options options_of(const settings& s, std::uint64_t seed) {
  polymoe::train_options o;
  o.batch = s.batch, o.epochs = s.epochs, o.learning_rate = s.learning_rate, o.weight_decay = s.weight_decay;
  o.seed = seed, o.threads = s.threads, o.warmup_epochs = 0, o.clip_norm = 0;
  if (!s.milestones.empty()) {
    o.schedule = polymoe::learning_rate_schedule::shape::steps;
    for (const double share : s.milestones) o.milestones.push_back(share * static_cast<double>(s.epochs));
  }
  if (s.augment == "crop") o.augment.pad = 4, o.augment.mirror = polymoe::flip::random;
  return o;
}

/// `finish(trainer, result)` adds the arm's own figures after training; it is not called for a stopped run.
template <class Trainer, class Finish>
result train_arm(const std::string& name, std::uint64_t seed, const settings& s, const images& data, Trainer& t,
                 Finish finish) {
  namespace fs = std::filesystem;
  const std::string folder = folder_of(s, name, seed), checkpoint = folder + "/checkpoint.safetensors";
  std::error_code failed;
  fs::create_directories(folder, failed);
  polymoe::require(!failed, "cannot create the folder ", folder, ": ", failed.message());
  const std::string identity = identity_of(s), label = name + ", seed " + std::to_string(seed);
  result r;
  r.arm = name, r.seed = seed;
  if (s.resume && fs::exists(checkpoint)) {
    const auto meta = t.load(checkpoint);
    const auto it = meta.find("experiment.identity");
    polymoe::require(it != meta.end() && it->second == identity, checkpoint, ": belongs to another run, this one is ",
                     identity);
    if (fs::exists(folder + "/part.json")) r = read_result(folder + "/part.json", identity);
    r.epochs.resize(static_cast<std::size_t>(std::min<index>(t.epoch(), static_cast<index>(r.epochs.size()))));
  }
  const auto save = [&] {
    write_result(folder + "/part.json", r, identity);
    t.save(checkpoint, {{"experiment.identity", identity}});
  };
  polymoe::csv_log csv(folder + "/epochs.csv",
                       {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds", "drop_rate",
                        "entropy"},
                       s.resume ? t.epoch() : 0);
  polymoe::progress bar(s.epochs, t.steps_per_epoch());
  while (!t.finished()) {
    const index epoch = t.epoch();
    bar.begin_epoch(epoch, t.step_in_epoch());
    do {
      const polymoe::train_step x = t.step();
      polymoe::step_report shown;
      shown.loss = x.loss, shown.lr = x.learning_rate, shown.grad_norm = x.grad_norm;
      if (x.has_experts) shown.dropped = x.drop_rate, shown.load_spread = x.max_over_mean;
      bar.step(x.images, shown);
      if (program::stop_requested && t.step_in_epoch() != 0) {
        save();
        bar.message(label + ": stopped after step " + std::to_string(t.step_count()) + ", saved in " + checkpoint);
        r.interrupted = true;
        return r;
      }
    } while (t.step_in_epoch() != 0);
    const polymoe::train_summary train = t.epoch_summary(), validation = t.evaluate();
    epoch_figures e{train.loss, train.accuracy, validation.loss, validation.accuracy, train.seconds, {}, 0, 0};
    if (train.experts.any())
      e.load = train.experts.layers.back().load, e.drop_rate = train.experts.drop_rate(), e.entropy = train.experts.entropy();
    r.epochs.push_back(e);
    csv.row(epoch, {e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy, e.seconds, e.drop_rate,
                    e.entropy});
    char text[200];
    std::snprintf(text, sizeof text,
                  "%s, epoch %lld/%lld: train loss %.4f accuracy %.4f | validation loss %.4f accuracy %.4f | %.0f images/s",
                  label.c_str(), static_cast<long long>(epoch + 1), static_cast<long long>(s.epochs), e.train_loss,
                  e.train_accuracy, e.validation_loss, e.validation_accuracy, train.images_per_second);
    bar.message(text);
    save();
    if (program::stop_requested && !t.finished()) {
      r.interrupted = true;
      return r;
    }
  }
  const polymoe::train_summary test = t.evaluate_on(data.test);
  double best = 0, best_train = 0, seconds = 0;
  for (const epoch_figures& e : r.epochs)
    best = std::max(best, e.validation_accuracy), best_train = std::max(best_train, e.train_accuracy), seconds += e.seconds;
  r.figures["test_accuracy"] = test.accuracy, r.figures["test_loss"] = test.loss;
  r.figures["best_validation_accuracy"] = best, r.figures["best_train_accuracy"] = best_train;
  r.figures["train_seconds"] = seconds, r.figures["inference_images_per_second"] = test.images_per_second;
  if (test.experts.any()) {
    r.figures["drop_rate"] = test.experts.drop_rate(), r.figures["load_cv"] = test.experts.load_cv();
    r.figures["entropy"] = test.experts.entropy(), r.figures["dead_experts"] = test.experts.dead_experts();
    r.lists["load"] = test.experts.layers.back().load;
    r.lists["class_expert"] = test.class_expert.back();
  }
  for (const index n : test.confusion) r.lists["confusion"].push_back(static_cast<double>(n));
  finish(t, r);
  write_result(folder + "/result.json", r, identity);
  return r;
}

}  // namespace experiment
