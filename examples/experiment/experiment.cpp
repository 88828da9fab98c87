// Options, kept results, tables and charts: everything of an experiment that does not depend on a model's type.
#include "experiment.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include <polymoe/train/cifar.hpp>
#include <polymoe/train/idx.hpp>
#include <polymoe/train/json_reader.hpp>
#include <polymoe/train/synthetic.hpp>

namespace experiment {

namespace fs = std::filesystem;
using polymoe::require;

namespace {

std::string formatted(const char* format, double x) {
  char text[64];
  std::snprintf(text, sizeof text, format, x);
  return text;
}

polymoe::train_test read_any(const settings& s, std::string& name) {
  if (s.data == "synthetic") {
    name = "made-up images";
    polymoe::synthetic_options o{.per_class = 500};
    polymoe::train_test t;
    t.train = polymoe::synthetic_images(o);
    o.part = 1, o.per_class = 100;
    t.test = polymoe::synthetic_images(o);
    t.train.measure();
    return t;
  }
  if (s.data == "fashion") {
    name = "Fashion-MNIST";
    return polymoe::read_fashion_mnist();
  }
  const bool hundred = fs::exists(s.data + "/cifar-100-binary") || fs::exists(s.data + "/train.bin");
  const bool ten = fs::exists(s.data + "/cifar-10-batches-bin") || fs::exists(s.data + "/data_batch_1.bin");
  require(ten != hundred, s.data, ten ? ": it holds CIFAR-10 and CIFAR-100; name the folder of one of them"
                                      : ": no binary files of CIFAR-10 or CIFAR-100 there (data_batch_1.bin or train.bin)");
  name = ten ? "CIFAR-10" : "CIFAR-100";
  return ten ? polymoe::read_cifar10(s.data) : polymoe::read_cifar100(s.data);
}

}  // namespace

images read_images(const settings& s) {
  images all;
  polymoe::train_test raw = read_any(s, all.name);
  // A fixed order of the training images: the last of it are for validation, whatever the seed of a run.
  const polymoe::random_stream draw = polymoe::random_root{42}.stream(polymoe::stream_id("experiment.split"), 0);
  std::vector<index> order(static_cast<std::size_t>(raw.train.size()));
  std::iota(order.begin(), order.end(), index{0});
  for (std::size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[draw.below(i, static_cast<std::uint32_t>(i))]);
  const index n = raw.train.size(), held = s.validation > 0 ? s.validation : n / 10;
  require(held > 0 && held < n, "--validation ", s.validation, ": ", n, " training images are to be split");
  const index used = s.images > 0 ? s.images : n - held;
  require(used <= n - held, "--images ", s.images, ": ", n - held, " are left beside ", held, " for validation");
  const std::span<const index> which(order);
  all.fit.train = raw.train.subset(which.first(static_cast<std::size_t>(used)));
  all.fit.test = raw.train.subset(which.last(static_cast<std::size_t>(held)));
  all.test = s.test_images > 0 ? raw.test.slice(0, s.test_images) : std::move(raw.test);
  for (polymoe::dataset* d : {&all.fit.train, &all.fit.test, &all.test})
    d->mean = raw.train.mean, d->stddev = raw.train.stddev;
  return all;
}

void add_options(CLI::App& app, settings& s) {
  app.option_defaults()->always_capture_default();
  app.set_config("--config", "", "TOML file with any of these options; flags win");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_option("--data", s.data, "folder with CIFAR-10's or CIFAR-100's binary files, 'fashion' or 'synthetic'");
  app.add_option("--out", s.out, "folder for checkpoints, logs, results and report.html");
  app.add_option("--seeds", s.seeds, "seeds; every arm is trained once under each")->delimiter(',');
  app.add_option("--arms", s.arms, "arms to run; default: all")->delimiter(',');
  app.add_option("--epochs", s.epochs, "passes over the training images")->check(CLI::PositiveNumber);
  app.add_option("--batch", s.batch, "images of a step")->check(CLI::PositiveNumber);
  app.add_option("--images", s.images, "training images to use; 0: all")->check(CLI::NonNegativeNumber);
  app.add_option("--validation", s.validation, "images held out for validation; 0: a tenth")->check(CLI::NonNegativeNumber);
  app.add_option("--test-images", s.test_images, "test images to use; 0: all")->check(CLI::NonNegativeNumber);
  app.add_option("--learning-rate", s.learning_rate, "at the start")->check(CLI::PositiveNumber);
  app.add_option("--weight-decay", s.weight_decay, "of the optimiser")->check(CLI::NonNegativeNumber);
  app.add_option("--momentum", s.momentum, "of SGD")->check(CLI::Range(0.0, 0.9999));
  app.add_option("--milestones", s.milestones, "shares of the run at which the learning rate falls by ten; none: cosine")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--augment", s.augment, "none, or crop (pad 4, crop, flip)")->check(CLI::IsMember({"none", "crop"}));
  app.add_option("--threads", s.threads, "threads; results do not depend on it")->check(CLI::Range(1, 1024));
  app.add_flag("--resume", s.resume, "continue the run in --out")->configurable(false);
}

int parse(CLI::App& app, settings& s, int argc, char** argv) {
  for (int i = 0; i < argc; ++i) s.command += (i ? " " : "") + std::string(i ? argv[i] : fs::path(argv[i]).filename().string());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::fprintf(stderr, "%s: %s (--help lists the options)\n", s.program.c_str(), e.what());
    return 2;
  }
  if (s.out.empty()) s.out = s.program + "-out";
  require(!s.seeds.empty(), "--seeds: at least one is needed");
  std::error_code failed;
  fs::create_directories(s.out, failed);
  require(!failed, "cannot create the folder ", s.out, ": ", failed.message());
  polymoe::write_text(s.out + "/config.toml", app.config_to_str(true, true));
  return -1;
}

std::string folder_of(const settings& s, const std::string& arm, std::uint64_t seed) {
  return s.out + "/" + arm + "/seed-" + std::to_string(seed);
}

std::string identity_of(const settings& s) {
  std::ostringstream t;
  t.precision(17);
  t << s.program << ", " << s.data << ", images " << s.images << '/' << s.validation << '/' << s.test_images << ", epochs "
    << s.epochs << ", batch " << s.batch << ", rate " << s.learning_rate << ", decay " << s.weight_decay << ", momentum "
    << s.momentum << ", " << s.augment << (s.variant.empty() ? "" : ", ") << s.variant;
  for (const double m : s.milestones) t << ' ' << m;
  return t.str();
}

bool run_all(const settings& s, const std::vector<arm>& arms, const images& data, std::vector<result>& out) {
  for (const std::string& wish : s.arms) {
    std::string known;
    for (const arm& a : arms) known += (known.empty() ? "" : ", ") + a.name;
    require(std::any_of(arms.begin(), arms.end(), [&](const arm& a) { return a.name == wish; }), "--arms: there is no arm '",
            wish, "'; there are ", known);
  }
  for (const std::uint64_t seed : s.seeds)
    for (const arm& a : arms) {
      if (!s.arms.empty() && std::find(s.arms.begin(), s.arms.end(), a.name) == s.arms.end()) continue;
      const std::string kept = folder_of(s, a.name, seed) + "/result.json";
      if (s.resume && fs::exists(kept)) {
        out.push_back(read_result(kept, identity_of(s)));
        std::printf("%s, seed %llu: already finished\n", a.name.c_str(), static_cast<unsigned long long>(seed));
        continue;
      }
      if (!s.resume) {  // a new run must not be continued later with what an older one left
        std::error_code ignored;
        for (const char* file : {"/result.json", "/part.json", "/checkpoint.safetensors"})
          fs::remove(folder_of(s, a.name, seed) + file, ignored);
      }
      out.push_back(a.run(s, seed, data));
      if (out.back().interrupted) return false;
    }
  return true;
}

void write_result(const std::string& path, const result& r, const std::string& identity) {
  polymoe::json_writer w;
  w.begin_object().field("identity", identity).field("arm", r.arm).field("seed", r.seed).field("description", r.description);
  w.key("epochs").begin_array();
  for (const epoch_figures& e : r.epochs) {
    w.begin_array();
    for (const double x : {e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy, e.seconds, e.drop_rate, e.entropy})
      w.value(x);
    for (const double x : e.load) w.value(x);
    w.end_array();
  }
  w.end_array().key("figures").begin_object();
  for (const auto& [name, x] : r.figures) w.field(name, x);
  w.end_object().key("lists").begin_object();
  for (const auto& [name, list] : r.lists) {
    w.key(name).begin_array();
    for (const double x : list) w.value(x);
    w.end_array();
  }
  w.end_object().end_object();
  polymoe::write_text(path, w.str() + "\n");
}

result read_result(const std::string& path, const std::string& identity) {
  const std::string text = polymoe::read_text(path);
  polymoe::json_reader in(text, path);
  result r;
  std::string key;
  // A number that was not finite is null.
  const auto number = [&] { return in.peek() == 'n' ? (in.null(), std::nan("")) : in.number(); };
  const auto list = [&] {
    std::vector<double> v;
    for (in.begin_array(); in.next_element();) v.push_back(number());
    return v;
  };
  for (in.begin_object(); in.next_key(key);) {
    if (key == "identity") {
      const std::string found = in.string();
      require(found == identity, path, ": the result belongs to another run: it has ", found, ", this run has ", identity,
              "; choose another --out or leave --resume out");
    } else if (key == "arm") {
      r.arm = in.string();
    } else if (key == "seed") {
      r.seed = in.unsigned_integer();
    } else if (key == "description") {
      r.description = in.string();
    } else if (key == "epochs") {
      for (in.begin_array(); in.next_element();) {
        const std::vector<double> v = list();
        require(v.size() >= 7, path, ": an epoch has ", v.size(), " numbers, at least 7 are needed");
        r.epochs.push_back({v[0], v[1], v[2], v[3], v[4], {v.begin() + 7, v.end()}, v[5], v[6]});
      }
    } else if (key == "figures") {
      for (in.begin_object(); in.next_key(key);) r.figures[key] = number();
    } else if (key == "lists") {
      for (in.begin_object(); in.next_key(key);) r.lists[key] = list();
    } else {
      in.skip();
    }
  }
  in.end();
  return r;
}

std::vector<double> values_of(const std::vector<result>& all, const std::string& arm, const std::string& figure) {
  std::vector<double> v;
  for (const result& r : all)
    if (r.arm == arm)
      if (const auto it = r.figures.find(figure); it != r.figures.end()) v.push_back(it->second);
  return v;
}

std::string text_of(const std::vector<double>& v, const char* format, double scale) {
  if (v.empty()) return "-";
  const auto s = polymoe::analysis::summarise(v);
  if (v.size() == 1) return formatted(format, scale * s.mean);
  return formatted(format, scale * s.mean) + " \u00b1 " + formatted(format, scale * s.standard_error) + " (" +
         std::to_string(v.size()) + ")";
}

void add_tables(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all,
                const std::vector<figure_row>& rows) {
  std::vector<const arm*> ran;
  for (const arm& a : arms)
    if (std::any_of(all.begin(), all.end(), [&](const result& r) { return r.arm == a.name; })) ran.push_back(&a);
  std::vector<std::string> header{"figure"};
  for (const arm* a : ran) header.push_back(a->name);
  std::vector<std::vector<std::string>> cells;
  for (const figure_row& f : rows) {
    std::vector<std::string> row{f.title};
    for (const arm* a : ran) row.push_back(text_of(values_of(all, a->name, f.figure), f.format, f.scale));
    cells.push_back(row);
  }
  std::printf("\n");
  for (const auto* line : {&header})
    for (std::size_t i = 0; i < line->size(); ++i) std::printf(i ? "  %22s" : "%-40s", (*line)[i].c_str());
  std::printf("\n");
  for (const auto& line : cells) {
    for (std::size_t i = 0; i < line.size(); ++i) std::printf(i ? "  %22s" : "%-40s", line[i].c_str());
    std::printf("\n");
  }
  page.table("Mean, standard error and number of seeds", header, cells);

  if (ran.size() < 2) return;
  std::vector<std::vector<std::string>> pairs;
  for (std::size_t i = 1; i < ran.size(); ++i) {
    std::vector<double> a, b;
    for (const result& r : all)
      for (const result& q : all)
        if (r.arm == ran[i]->name && q.arm == ran[0]->name && r.seed == q.seed && r.figures.count("test_accuracy") &&
            q.figures.count("test_accuracy"))
          a.push_back(r.figures.at("test_accuracy")), b.push_back(q.figures.at("test_accuracy"));
    if (a.empty()) continue;
    const auto d = polymoe::analysis::paired_difference(a, b);
    std::string range = "-", sign = "-";
    if (a.size() > 1) {
      const auto in = polymoe::analysis::bootstrap_mean(polymoe::analysis::detail::differences(a, b));
      range = formatted("%+.2f", 100 * in.low) + " .. " + formatted("%+.2f", 100 * in.high);
      const auto t = polymoe::analysis::sign_test(a, b);
      sign = std::to_string(t.positive) + " up, " + std::to_string(t.negative) + " down, p " + formatted("%.3f", t.p);
    }
    pairs.push_back({ran[i]->name + " - " + ran[0]->name, formatted("%+.2f", 100 * d.mean),
                     a.size() > 1 ? formatted("%.2f", 100 * d.standard_error) : "-", range, sign});
  }
  page.table("Test accuracy, paired over seeds, in percentage points", {"pair", "difference", "standard error", "95 % bootstrap", "signs"},
             pairs);
  for (const auto& p : pairs)
    std::printf("%s: %s pp (standard error %s, 95 %% %s, %s)\n", p[0].c_str(), p[1].c_str(), p[2].c_str(), p[3].c_str(), p[4].c_str());
}

void add_curves(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all) {
  std::vector<polymoe::series> accuracy, loss;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    std::vector<const result*> of;
    for (const result& r : all)
      if (r.arm == arms[i].name && !r.epochs.empty()) of.push_back(&r);
    if (of.empty()) continue;
    const auto curve = [&](auto member, bool dashed, const char* what) {
      polymoe::series s{.name = arms[i].name + what, .y = {}, .color = static_cast<index>(i), .dashed = dashed};
      for (std::size_t e = 0; e < of[0]->epochs.size(); ++e) {
        double sum = 0;
        for (const result* r : of) sum += r->epochs[e].*member;
        s.x.push_back(static_cast<double>(e + 1)), s.y.push_back(sum / static_cast<double>(of.size()));
      }
      return s;
    };
    accuracy.push_back(curve(&epoch_figures::validation_accuracy, false, ", validation"));
    accuracy.push_back(curve(&epoch_figures::train_accuracy, true, ", training"));
    loss.push_back(curve(&epoch_figures::validation_loss, false, ", validation"));
    loss.push_back(curve(&epoch_figures::train_loss, true, ", training"));
  }
  page.lines({.title = "Accuracy, mean over seeds", .x_label = "epoch", .y_label = "right answers", .share = true}, accuracy);
  page.lines({.title = "Loss, mean over seeds", .x_label = "epoch", .y_label = "cross-entropy (nats)", .log_y = true}, loss);
}

void add_provenance(polymoe::report& page, const settings& s, const images& data) {
  page.section("How this was made");
  page.text("Command: " + s.command);
  page.text("Data: " + data.name + ", " + std::to_string(data.fit.train.size()) + " training, " +
            std::to_string(data.fit.test.size()) + " validation and " + std::to_string(data.test.size()) +
            " test images. Options: " + identity_of(s));
  page.text("The effective configuration is config.toml beside this page; --config reads it back.");
}

}  // namespace experiment
