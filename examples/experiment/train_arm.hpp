// Trains one model under one seed, with checkpoints, a log and live progress.  train_arm() alone depends on the model's
// type; what it writes and says is arm_record's.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include <polymoe/train/log.hpp>
#include <polymoe/train/progress.hpp>

#include "choices.hpp"

namespace experiment {

/// The recipe that the shared options ask for: no warm-up, no clipping.
polymoe::train_options options_of(const settings&, std::uint64_t seed);
/// The same for AdamW: a warm-up over a tenth of the run, at most one epoch, and gradients of norm 1 at most.
polymoe::train_options adamw_recipe(const settings&, std::uint64_t seed);

/// Files, lines and figures of one arm under one seed.
class arm_record {
 public:
  /// Makes the folder.
  arm_record(const std::string& name, std::uint64_t seed, const settings&);
  const std::string& checkpoint() const { return checkpoint_; }
  /// Where the weights of the best epoch are kept, and whether that is the one that has just ended.
  std::string best() const { return folder_ + best_checkpoint; }
  bool is_best() const;
  /// The same of the first epoch whose training loss is below settings::keep_at_loss.
  std::string at_loss() const { return folder_ + at_loss_checkpoint; }
  bool is_at_loss() const;
  /// Whether there is a checkpoint to go on from.
  bool resumes() const;
  /// Takes the epochs that are kept beside the checkpoint, which has `meta` and is in epoch `epoch`; throws when it
  /// belongs to another run.
  void resume(const std::map<std::string, std::string>& meta, index epoch);
  /// What a checkpoint is marked with.
  std::map<std::string, std::string> meta() const { return {{"experiment.identity", identity_}}; }

  void begin(index epoch, index steps_per_epoch);
  void begin_epoch(index epoch, index step) { bar_->begin_epoch(epoch, step); }
  /// The last of `steps` steps since the last call.
  void step(const polymoe::train_step&, index steps);
  /// Before an evaluation whose plans go to choices(): forgets those of the one before.
  void begin_choices() { choices_.clear(); }
  /// Of the l-th layer of experts.
  polymoe::analysis::routing_choices& choices(std::size_t l);
  /// `validation` with its choices(), which are compared with those of the epoch before.
  void end_epoch(index epoch, const polymoe::train_summary& train, const polymoe::train_summary& validation);
  /// Writes the epochs so far, to be read by resume(), before the checkpoint of a run in epoch `epoch`.
  void save(index epoch) const;
  /// After that checkpoint.
  void saved(index epoch) const;
  /// Of a run that was stopped, inside an epoch after step `step`, or between epochs.
  result stopped_after(index step);
  result stopped();
  /// Adds the figures of the test images, with their choices() and `logits` [images, classes].
  void test(const polymoe::train_summary&, const images&, const std::vector<float>& logits);
  /// Adds the figures of the test images at the best epoch.
  void test_best(const polymoe::train_summary&);
  result& so_far() { return result_; }
  /// Writes result.json.
  result finish() const;

 private:
  std::string choices_file(index epoch) const;

  const settings& settings_;
  std::string folder_, checkpoint_, identity_, label_;
  result result_;
  layer_choices choices_, before_;  ///< of the current evaluation; at the end of the last epoch
  std::unique_ptr<polymoe::csv_log> csv_;
  std::unique_ptr<polymoe::progress> bar_;
};

/// A few steps and calls of an arm instead of its run: figures "plan_train" and "plan_evaluate", images per second.  An
/// arm that does more after its training adds "plan_after", seconds.
template <class Trainer>
result time_arm(const std::string& name, std::uint64_t seed, const images& data, Trainer& t) {
  using clock = std::chrono::steady_clock;
  const auto since = [](clock::time_point begin) {
    return std::chrono::duration<double>(clock::now() - begin).count();
  };
  constexpr index stride = Trainer::memory::on_host ? 1 : 10;
  // The first steps set things up: on a GPU a graph is captured and the second one is the first to be replayed.
  for (index i = 0; i < 3 && t.total_steps() - t.step_count() > 1; ++i) t.advance(1);
  const index first = t.step_count();
  const auto begin = clock::now();
  const auto done = [&] { return t.step_count() - first; };
  while (!t.finished() && done() < 50 && (done() < 3 || since(begin) < 3)) t.advance(stride);
  result r;
  r.arm = name, r.seed = seed;
  r.figures["plan_train"] = static_cast<double>(done() * t.options().batch * t.options().accumulate) / since(begin);
  const polymoe::dataset some = data.test.slice(0, std::min(data.test.size(), 2 * t.options().batch));
  t.evaluate_on(some);
  const auto then = clock::now();
  t.evaluate_on(some);
  r.figures["plan_evaluate"] = static_cast<double>(some.size()) / since(then);
  return r;
}

/// `finish(trainer, result)` adds the arm's own figures after training; it is not called for a stopped run, nor for one
/// that is only planned.
template <class Trainer, class Finish>
result train_arm(const std::string& name, std::uint64_t seed, const settings& s, const images& data, Trainer& t,
                 Finish finish) {
  if (s.plan) return time_arm(name, seed, data, t);
  arm_record record(name, seed, s);
  if (record.resumes()) {
    const auto meta = t.load(record.checkpoint());
    record.resume(meta, t.epoch());
  }
  const auto save = [&] {
    record.save(t.epoch());
    t.save(record.checkpoint(), record.meta());
    record.saved(t.epoch());
  };
  const auto note_choices = [&](index, index) {
    std::size_t l = 0;
    polymoe::each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
      add_choices(layer.plan(t.work().ctx(), saved), record.choices(l++));
    });
  };
  record.begin(t.epoch(), t.steps_per_epoch());
  // A GPU runs some steps without being asked.
  constexpr index stride = Trainer::memory::on_host ? 1 : 10;
  while (!t.finished()) {
    const index epoch = t.epoch();
    record.begin_epoch(epoch, t.step_in_epoch());
    do {
      const index before = t.step_count();
      const polymoe::train_step x = t.advance(stride - before % stride);
      record.step(x, t.step_count() - before);
      if (*s.stop_requested && t.step_in_epoch() != 0) {
        save();
        return record.stopped_after(t.step_count());
      }
    } while (t.step_in_epoch() != 0);
    record.begin_choices();
    const polymoe::train_summary train = t.epoch_summary(), validation = t.evaluate(note_choices);
    record.end_epoch(epoch, train, validation);
    if (s.keep_best && record.is_best()) t.save(record.best(), record.meta());
    if (record.is_at_loss()) t.save(record.at_loss(), record.meta());
    save();
    if (*s.stop_requested && !t.finished()) return record.stopped();
  }
  record.begin_choices();
  std::vector<float> logits;
  const auto note_all = [&](index batch, index n) {
    note_choices(batch, n);
    std::vector<typename Trainer::T> rows(static_cast<std::size_t>(n * data.test.classes()));
    Trainer::memory::read(t.work().ctx().stream, rows.data(), t.logits().ptr[0], rows.size() * sizeof rows[0]);
    for (const auto x : rows) logits.push_back(static_cast<float>(x));
  };
  const polymoe::train_summary tested = t.evaluate_on(data.test, 0, note_all);
  record.test(tested, data, logits);
  if (s.keep_best) {
    t.load(record.best());
    record.test_best(t.evaluate_on(data.test));
    t.load(record.checkpoint());
  }
  finish(t, record.so_far());
  return record.finish();
}

/// What the last layer of experts says of itself; empty for a model without experts.
template <class Trainer>
std::string last_layer_of(Trainer& t) {
  std::string line;
  polymoe::each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto&) { line = layer.describe(); });
  return line;
}

}  // namespace experiment
