// One arm of the demo: train with checkpoints and logs, evaluate, collect what the report shows.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

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

}  // namespace detail

/// Trains `model` under the name `name`; files go to <out>/<name>/.  `first` draws first values, null: the host.
template <class Model>
arm_result run_arm(const char* name, const typename Model::config& config, const settings& s,
                   const polymoe::train_test& data, typename polymoe::workspace<Model>::initialiser first = nullptr) {
  namespace fs = std::filesystem;
  const std::string folder = s.out + "/" + name, checkpoint = folder + "/checkpoint.safetensors";
  std::error_code failed;
  fs::create_directories(folder, failed);
  polymoe::require(!failed, "cannot create the folder ", folder, ": ", failed.message());

  polymoe::train_options o;
  o.batch = s.batch, o.epochs = s.epochs, o.learning_rate = s.learning_rate, o.seed = s.seed, o.threads = s.threads;
  o.weight_decay = 0.05, o.warmup_epochs = 0.5, o.clip_norm = 1.0;
  o.augment.mirror = polymoe::flip::random;
  polymoe::trainer<Model> t(Model(config), o, data, {}, first);

  arm_result r;
  r.name = name;
  r.cost = Model::count(config, 1);
  std::map<std::string, std::string> extra;
  // What a checkpoint must agree with besides the trainer's own options.
  const std::string identity =
      std::string(name) + ", experts " + std::to_string(s.experts) + ", " + (s.bf16 ? "bf16" : "f32");
  if (s.resume && fs::exists(checkpoint)) {
    const auto meta = t.load(checkpoint);
    const auto it = meta.find("demo.identity");
    polymoe::require(it != meta.end() && it->second == identity, checkpoint, ": belongs to another arm, this one is ",
                     identity);
    if (const auto h = meta.find("demo.history"); h != meta.end())
      r.epochs = detail::parse_history(h->second, checkpoint);
    std::printf("%s: %s after step %lld of %lld\n", name, t.finished() ? "already trained, stopped" : "resumed",
                static_cast<long long>(t.step_count()), static_cast<long long>(t.total_steps()));
    if (const auto d = meta.find("demo.device"); d != meta.end() && d->second != s.device)
      std::printf("%s: the checkpoint was made on %s; on %s the run goes on with other roundings\n", name, d->second.c_str(),
                  s.device.c_str());
  } else if (s.resume) {
    std::printf("%s: there is no %s yet, training begins at the first step\n", name, checkpoint.c_str());
  }
  extra["demo.identity"] = identity;
  extra["demo.device"] = s.device;
  const auto save = [&] {
    extra["demo.history"] = detail::history_text(r.epochs);
    t.save(checkpoint, extra);
  };

  polymoe::csv_log csv(folder + "/epochs.csv",
                       {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds", "images_per_second",
                        "drop_rate", "load_cv", "entropy", "expert_grad_norm_min", "expert_grad_norm_max"},
                       s.resume ? t.epoch() : 0);
  polymoe::jsonl_log steps(folder + "/steps.jsonl", s.resume ? t.step_count() : 0);
  polymoe::progress bar(s.epochs, t.steps_per_epoch());
  const auto stopped = [&] {
    save();
    bar.message(std::string(name) + ": stopped after step " + std::to_string(t.step_count()) + " of " +
                std::to_string(t.total_steps()) + "; saved in " + checkpoint);
    r.interrupted = true;
    return r;
  };
  if (!t.finished())
    bar.message(std::string(name) + ": training " + std::to_string(r.cost.params) + " parameters, " +
                std::to_string(r.cost.active_params) + " active per token, " + std::to_string(t.steps_per_epoch()) +
                " steps an epoch");
  // A row for every step; a GPU runs ten between two rows of the log without being asked.
  constexpr index stride = Model::backend::memory::on_host ? 1 : 10;
  while (!t.finished()) {
    const index epoch = t.epoch();
    bar.begin_epoch(epoch, t.step_in_epoch());
    do {
      const index before = t.step_count();
      const polymoe::train_step x = t.advance(stride - before % stride);
      const index done = t.step_count() - before;
      polymoe::step_report shown;
      shown.loss = x.loss, shown.lr = x.learning_rate, shown.grad_norm = x.grad_norm;
      if (x.has_experts) shown.dropped = x.drop_rate, shown.load_spread = x.max_over_mean;
      bar.step(done * x.images, shown, done);
      steps.row(t.step_count() - 1, {{"loss", x.loss},
                                     {"balance_loss", x.balance_loss},
                                     {"learning_rate", x.learning_rate},
                                     {"grad_norm", x.grad_norm},
                                     {"drop_rate", x.drop_rate},
                                     {"load_max_over_mean", x.max_over_mean}});
      // After the last step of an epoch the epoch's row comes first: a resumed run would not write it again.
      if (*s.stop_requested && t.step_in_epoch() != 0) return stopped();
    } while (t.step_in_epoch() != 0);

    epoch_row row;
    row.train = t.epoch_summary();
    // Of the epoch's last step: an expert without a gradient learns nothing.
    std::vector<double> gradients;
    for (const auto& e : polymoe::analysis::norms_of_experts(polymoe::analysis::gradient_norms(t.work())))
      gradients.push_back(e.norm);
    if (gradients.empty()) gradients.push_back(0);
    const auto [least, most] = std::minmax_element(gradients.begin(), gradients.end());
    const polymoe::train_summary test = t.evaluate();
    row.test_accuracy = test.accuracy, row.test_loss = test.loss;
    r.epochs.push_back(row);
    csv.row(epoch, {row.train.loss, row.train.accuracy, test.loss, test.accuracy, row.train.seconds,
                    row.train.images_per_second, row.train.experts.drop_rate(), row.train.experts.load_cv(),
                    row.train.experts.entropy(), *least, *most});
    char text[256];
    std::snprintf(text, sizeof text,
                  "%s epoch %lld/%lld: train loss %.4f accuracy %.4f | test loss %.4f accuracy %.4f | %.0f images/s",
                  name, static_cast<long long>(epoch + 1), static_cast<long long>(s.epochs), row.train.loss,
                  row.train.accuracy, test.loss, test.accuracy, row.train.images_per_second);
    bar.message(text);
    if (const std::string alarm = row.train.experts.load_alarm(); !alarm.empty())
      bar.message(std::string(name) + ": " + alarm + " over the whole epoch");
    if (*s.stop_requested) return stopped();
    save();
  }

  // The final evaluation also collects, for the first images, the expert of every patch in the last routed layer.
  r.test = t.evaluate([&](index batch, index n) {
    if (batch > 0) return;
    polymoe::each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
      r.description = layer.describe();
      r.examples.clear();
      const auto plan = layer.plan(t.work().ctx(), saved);
      const index per_image = plan.tokens / n;
      for (index i = 0; i < std::min<index>(n, 24); ++i) {
        polymoe::report_image picture = polymoe::report_image::of(data.test, i);
        picture.patch_rows = picture.patch_cols =
            static_cast<index>(std::lround(std::sqrt(static_cast<double>(per_image))));
        for (index p = 0; p < per_image; ++p) picture.expert.push_back(plan.expert_of[(i * per_image + p) * plan.k]);
        picture.caption =
            data.test.class_names[static_cast<std::size_t>(data.test.labels[static_cast<std::size_t>(i)])];
        r.examples.push_back(std::move(picture));
      }
    });
  });
  double images = 0;
  for (const epoch_row& e : r.epochs)
    r.seconds += e.train.seconds, images += e.train.seconds * e.train.images_per_second;
  r.train_images_per_second = r.seconds > 0 ? images / r.seconds : 0;
  return r;
}

}  // namespace demo
