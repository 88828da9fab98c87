// One arm of the demo: train with checkpoints and logs, evaluate, collect what the report shows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>

#include "demo.hpp"

namespace demo {

namespace detail {

/// The finished epochs as text that is read back to the same bits; what the report needs of each.
inline std::string history_text(const std::vector<epoch_row>& rows) {
  std::ostringstream out;
  out.precision(17);
  for (const epoch_row& r : rows) {
    out << r.train.loss << ' ' << r.train.accuracy << ' ' << r.train.seconds << ' ' << r.train.images_per_second << ' '
        << r.test_loss << ' ' << r.test_accuracy << ' ' << r.train.experts.layers.size();
    for (const auto& l : r.train.experts.layers) {
      out << ' ' << l.units << ' ' << l.bad_rows << ' ' << l.choices << ' ' << l.placed << ' ' << l.overflow << ' '
          << l.entropy << ' ' << l.load.size();
      for (const double x : l.load) out << ' ' << x;
    }
    out << '\n';
  }
  return out.str();
}

inline std::vector<epoch_row> parse_history(const std::string& text, const std::string& where) {
  std::vector<epoch_row> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    epoch_row r;
    std::istringstream in(line);
    // strtod, because streams write nan and inf but do not read them.
    const auto read = [&](auto&... x) {
      const auto one = [&](auto& to) {
        std::string word;
        in >> word;
        char* end = nullptr;
        const double value = std::strtod(word.c_str(), &end);
        polymoe::require(!word.empty() && *end == 0, where, ": line ", rows.size() + 1, " of demo.history has '", word,
                         "' instead of a number");
        to = static_cast<std::remove_reference_t<decltype(to)>>(value);
      };
      (one(x), ...);
    };
    const auto count = [&] {
      double n = 0;
      read(n);
      polymoe::require(n >= 0 && n <= polymoe::max_experts, where, ": line ", rows.size() + 1,
                       " of demo.history names ", n, " layers or experts");
      return static_cast<std::size_t>(n);
    };
    read(r.train.loss, r.train.accuracy, r.train.seconds, r.train.images_per_second, r.test_loss, r.test_accuracy);
    r.train.experts.layers.resize(count());
    for (polymoe::layer_telemetry& l : r.train.experts.layers) {
      read(l.units, l.bad_rows, l.choices, l.placed, l.overflow, l.entropy);
      l.load.resize(count());
      for (double& x : l.load) read(x);
    }
    rows.push_back(std::move(r));
  }
  return rows;
}

/// The training of one arm, with its files in <out>/<name>/ and what the report shows of it.
template <class Model>
class arm_run {
 public:
  /// `first` draws first values, null: the host.
  arm_run(const char* name, const typename Model::config& config, const settings& s, const polymoe::train_test& data,
          typename polymoe::workspace<Model>::initialiser first)
      : name_(name),
        settings_(s),
        data_(data),
        folder_(made_folder(s.out + "/" + name)),
        checkpoint_(folder_ + "/checkpoint.safetensors"),
        trainer_(Model(config), options_of(s), data, {}, first) {
    result_.name = name;
    result_.cost = Model::count(config, 1);
    // What a checkpoint must agree with besides the trainer's own options.
    kept_["demo.identity"] = name_ + ", experts " + std::to_string(s.experts) + ", " + (s.bf16 ? "bf16" : "f32");
    kept_["demo.device"] = s.device;
  }

  arm_result run() {
    if (settings_.resume) resume();
    train();
    if (!result_.interrupted) collect();
    return std::move(result_);
  }

 private:
  static std::string made_folder(const std::string& folder) {
    std::error_code failed;
    std::filesystem::create_directories(folder, failed);
    polymoe::require(!failed, "cannot create the folder ", folder, ": ", failed.message());
    return folder;
  }
  static polymoe::train_options options_of(const settings& s) {
    polymoe::train_options o;
    o.batch = s.batch, o.epochs = s.epochs, o.learning_rate = s.learning_rate, o.seed = s.seed, o.threads = s.threads;
    o.weight_decay = 0.05, o.warmup_epochs = 0.5, o.clip_norm = 1.0;
    o.augment.mirror = polymoe::flip::random;
    return o;
  }

  /// Goes on from the arm's checkpoint, if there is one, and says which.
  void resume() {
    if (!std::filesystem::exists(checkpoint_)) {
      std::printf("%s: there is no %s yet, training begins at the first step\n", name_.c_str(), checkpoint_.c_str());
      return;
    }
    const auto meta = trainer_.load(checkpoint_);
    const auto told = [&](const char* key) {
      const auto it = meta.find(key);
      return it == meta.end() ? std::string() : it->second;
    };
    const std::string& identity = kept_.at("demo.identity");
    polymoe::require(told("demo.identity") == identity, checkpoint_, ": belongs to another arm, this one is ",
                     identity);
    result_.epochs = parse_history(told("demo.history"), checkpoint_);
    std::printf("%s: %s after step %lld of %lld\n", name_.c_str(),
                trainer_.finished() ? "already trained, stopped" : "resumed",
                static_cast<long long>(trainer_.step_count()), static_cast<long long>(trainer_.total_steps()));
    if (const std::string device = told("demo.device"); !device.empty() && device != settings_.device)
      std::printf("%s: the checkpoint was made on %s; on %s the run goes on with other roundings\n", name_.c_str(),
                  device.c_str(), settings_.device.c_str());
  }
  void save() {
    kept_["demo.history"] = history_text(result_.epochs);
    trainer_.save(checkpoint_, kept_);
  }

  /// What a training writes while it runs; one that was resumed appends.
  struct logs {
    explicit logs(const arm_run& arm)
        : epochs(arm.folder_ + "/epochs.csv",
                 {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds", "images_per_second",
                  "drop_rate", "load_cv", "entropy", "expert_grad_norm_min", "expert_grad_norm_max"},
                 arm.settings_.resume ? arm.trainer_.epoch() : 0),
          steps(arm.folder_ + "/steps.jsonl", arm.settings_.resume ? arm.trainer_.step_count() : 0),
          bar(arm.settings_.epochs, arm.trainer_.steps_per_epoch()) {}
    polymoe::csv_log epochs;
    polymoe::jsonl_log steps;
    polymoe::progress bar;
  };

  void train() {
    logs log(*this);
    if (!trainer_.finished())
      log.bar.message(name_ + ": training " + std::to_string(result_.cost.params) + " parameters, " +
                      std::to_string(result_.cost.active_params) + " active per token, " +
                      std::to_string(trainer_.steps_per_epoch()) + " steps an epoch");
    while (!trainer_.finished()) {
      const index epoch = trainer_.epoch();
      // After the last step of an epoch the epoch's row comes first: a resumed run would not write it again.
      const bool whole = train_epoch(epoch, log);
      if (whole) end_epoch(epoch, log);
      save();
      if (!whole || *settings_.stop_requested) {
        log.bar.message(name_ + ": stopped after step " + std::to_string(trainer_.step_count()) + " of " +
                        std::to_string(trainer_.total_steps()) + "; saved in " + checkpoint_);
        result_.interrupted = true;
        return;
      }
    }
  }
  /// The steps that are left of an epoch; false: stopped before its last one.
  bool train_epoch(index epoch, logs& log) {
    // A row for every step; a GPU runs ten between two rows of the log without being asked.
    constexpr index stride = Model::backend::memory::on_host ? 1 : 10;
    log.bar.begin_epoch(epoch, trainer_.step_in_epoch());
    do {
      const index before = trainer_.step_count();
      const polymoe::train_step step = trainer_.advance(stride - before % stride);
      log_step(step, trainer_.step_count() - before, log);
      if (*settings_.stop_requested && trainer_.step_in_epoch() != 0) return false;
    } while (trainer_.step_in_epoch() != 0);
    return true;
  }
  /// `step` is the last of `done` steps.
  void log_step(const polymoe::train_step& step, index done, logs& log) {
    polymoe::step_report shown;
    shown.loss = step.loss, shown.lr = step.learning_rate, shown.grad_norm = step.grad_norm;
    if (step.has_experts) shown.dropped = step.drop_rate, shown.load_spread = step.max_over_mean;
    log.bar.step(done * step.images, shown, done);
    log.steps.row(trainer_.step_count() - 1, {{"loss", step.loss},
                                              {"balance_loss", step.balance_loss},
                                              {"learning_rate", step.learning_rate},
                                              {"grad_norm", step.grad_norm},
                                              {"drop_rate", step.drop_rate},
                                              {"load_max_over_mean", step.max_over_mean}});
  }
  /// Tests the model and writes the epoch's row.
  void end_epoch(index epoch, logs& log) {
    epoch_row row;
    row.train = trainer_.epoch_summary();
    const auto [least, most] = gradients_of_experts();
    const polymoe::train_summary test = trainer_.evaluate();
    row.test_accuracy = test.accuracy, row.test_loss = test.loss;
    result_.epochs.push_back(row);
    const auto& experts = row.train.experts;
    log.epochs.row(epoch, {row.train.loss, row.train.accuracy, test.loss, test.accuracy, row.train.seconds,
                           row.train.images_per_second, experts.drop_rate(), experts.load_cv(), experts.entropy(),
                           least, most});
    char text[256];
    std::snprintf(text, sizeof text,
                  "%s epoch %lld/%lld: train loss %.4f accuracy %.4f | test loss %.4f accuracy %.4f | %.0f images/s",
                  name_.c_str(), static_cast<long long>(epoch + 1), static_cast<long long>(settings_.epochs),
                  row.train.loss, row.train.accuracy, test.loss, test.accuracy, row.train.images_per_second);
    log.bar.message(text);
    if (const std::string alarm = experts.load_alarm(); !alarm.empty())
      log.bar.message(name_ + ": " + alarm + " over the whole epoch");
  }
  /// The least and the largest gradient of an expert in the last step: one without a gradient learns nothing.
  std::pair<double, double> gradients_of_experts() {
    std::vector<double> norms;
    for (const auto& e : polymoe::analysis::norms_of_experts(polymoe::analysis::gradient_norms(trainer_.work())))
      norms.push_back(e.norm);
    if (norms.empty()) return {0, 0};
    const auto [least, most] = std::minmax_element(norms.begin(), norms.end());
    return {*least, *most};
  }

  /// The final evaluation, with the examples of its first batch, and the speed of the whole training.
  void collect() {
    result_.test = trainer_.evaluate([&](index batch, index images) {
      if (batch == 0) collect_examples(images);
    });
    double images = 0;
    for (const epoch_row& e : result_.epochs)
      result_.seconds += e.train.seconds, images += e.train.seconds * e.train.images_per_second;
    result_.train_images_per_second = result_.seconds > 0 ? images / result_.seconds : 0;
  }
  /// For the first images, the expert of every patch in the last routed layer.
  void collect_examples(index images) {
    const polymoe::dataset& test = data_.test;
    polymoe::each_expert_layer(trainer_.work().module(), trainer_.work().saved(), [&](auto& layer, auto& saved) {
      result_.description = layer.describe();
      result_.examples.clear();
      const auto plan = layer.plan(trainer_.work().ctx(), saved);
      const index per_image = plan.tokens / images;
      for (index i = 0; i < std::min<index>(images, 24); ++i) {
        polymoe::report_image picture = polymoe::report_image::of(test, i);
        picture.patch_rows = picture.patch_cols =
            static_cast<index>(std::lround(std::sqrt(static_cast<double>(per_image))));
        for (index p = 0; p < per_image; ++p) picture.expert.push_back(plan.expert_of[(i * per_image + p) * plan.k]);
        picture.caption = test.class_names[static_cast<std::size_t>(test.labels[static_cast<std::size_t>(i)])];
        result_.examples.push_back(std::move(picture));
      }
    });
  }

  std::string name_;
  const settings& settings_;
  const polymoe::train_test& data_;
  std::string folder_, checkpoint_;
  polymoe::trainer<Model> trainer_;
  std::map<std::string, std::string> kept_;  ///< beside the tensors of a checkpoint
  arm_result result_;
};

}  // namespace detail

/// Trains `Model` under the name `name`; files go to <out>/<name>/.  `first` draws first values, null: the host.
template <class Model>
arm_result run_arm(const char* name, const typename Model::config& config, const settings& s,
                   const polymoe::train_test& data, typename polymoe::workspace<Model>::initialiser first = nullptr) {
  return detail::arm_run<Model>(name, config, s, data, first).run();
}

}  // namespace demo
