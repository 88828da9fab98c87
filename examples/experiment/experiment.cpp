// Options, and the run through arms and seeds.
#include "experiment.hpp"

#include <algorithm>
#include <filesystem>

#include <polymoe/train/file.hpp>

#include "device.hpp"
#include "program.hpp"

namespace experiment {

namespace fs = std::filesystem;
using polymoe::require;

namespace {

void add_options(CLI::App& app, settings& s) {
  app.option_defaults()->always_capture_default();
  app.set_config("--config", "", "TOML file with any of these options; flags win");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_option(
      "--data", s.data,
      "folder with CIFAR's binary files, MNIST's IDX files, Tiny-ImageNet, or train/ and val/ with a folder of "
      "pictures a class; 'fashion' or 'synthetic'");
  app.add_option("--image-size", s.image_size, "side of what pictures of a folder become, pixels")
      ->check(CLI::Range(1, 4096));
  app.add_flag("--skip-bad", s.skip_bad, "leave unreadable pictures out, and count them");
  app.add_flag("--stream", s.stream,
               "leave pictures on disk and read them ahead, for more than fit into memory; same results");
  app.add_option("--split-seed", s.split_seed, "draws the validation images")->check(program::not_negative);
  app.add_option("--out", s.out, "folder for checkpoints, logs, results and report.html");
  app.add_option("--seeds", s.seeds, "seeds; every arm is trained once under each")
      ->delimiter(',')
      ->check(program::not_negative);
  app.add_option("--arms", s.arms, "arms to run; default: all")->delimiter(',');
  app.add_option("--epochs", s.epochs, "passes over the training images")->check(CLI::PositiveNumber);
  app.add_option("--batch", s.batch, "images of a step")->check(CLI::PositiveNumber);
  app.add_option("--images", s.images, "training images to use; 0: all")->check(CLI::NonNegativeNumber);
  app.add_option("--validation", s.validation, "images held out for validation; 0: a tenth")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--test-images", s.test_images, "test images to use; 0: all")->check(CLI::NonNegativeNumber);
  app.add_option("--learning-rate", s.learning_rate, "at the start")->check(CLI::PositiveNumber);
  app.add_option("--weight-decay", s.weight_decay, "of the optimiser")->check(CLI::NonNegativeNumber);
  app.add_option("--momentum", s.momentum, "of SGD")->check(CLI::Range(0.0, 0.9999));
  app.add_option("--milestones", s.milestones,
                 "shares of the run at which the learning rate falls by ten; none: cosine")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--augment", s.augment, "none, or crop (pad 4, crop, flip)")->check(CLI::IsMember({"none", "crop"}));
  app.add_option("--mixup", s.mixup, "alpha of mixup; 0: off")->check(CLI::Range(0.0, 1e3));
  app.add_option("--cutmix", s.cutmix, "alpha of CutMix; 0: off; with --mixup a coin per batch decides")
      ->check(CLI::Range(0.0, 1e3));
  app.add_option("--rand-augment", s.rand_augment,
                 "N,M: RandAugment's operations of an image (to 16) and their strength (to 30)")
      ->delimiter(',')
      ->expected(2);
  app.add_option("--cutout", s.cutout, "side of the square that is cut out of an image, pixels; 0: off")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--smoothing", s.smoothing, "label smoothing")->check(CLI::Range(0.0, 0.999));
  app.add_option("--threads", s.threads, "threads; results do not depend on it")->check(CLI::Range(1, 1024));
  app.add_option("--best", s.keep_best,
                 "true or false: keep the weights of the epoch with the best validation accuracy, and test them too");
  app.add_flag("--resume", s.resume, "continue the run in --out")->configurable(false);
  app.add_flag("--plan", s.plan, "time a few steps of every arm, say how long the run would take, and write nothing")
      ->configurable(false);
}

/// CLI11 quotes the lists that are defaults as a whole, and cannot read that back, nor an empty list.  Here they are as
/// it writes lists that were asked for: words quoted, one value without brackets.
std::string readable(const std::string& config) {
  std::istringstream in(config);
  std::string out, line;
  while (std::getline(in, line)) {
    const std::size_t open = line.find("=\"[");
    if (!line.empty() && line.front() != '#' && open != std::string::npos && line.ends_with("]\"")) {
      std::istringstream items(line.substr(open + 3, line.size() - open - 5));
      std::string list, item;
      index count = 0;
      for (; std::getline(items, item, ','); ++count) {
        const bool word = item.find_first_not_of("+-.0123456789e ") != std::string::npos;
        list += (count > 0 ? ", " : "") + (word ? "\"" + item + "\"" : item);
      }
      line = line.substr(0, open + 1) + (count == 1 ? list : "[" + list + "]");
    }
    if (!line.ends_with("=[]")) out += line + "\n";
  }
  return out;
}

}  // namespace

int main_of(int argc, char** argv, settings s, const char* about, const std::function<void(CLI::App&)>& own,
            const std::function<int(settings&, const images&)>& run) {
  return program::main_of(s.program.c_str(), [&] {
    CLI::App app{about};
    std::string device = "auto";
    add_options(app, s);
    program::add_device_option(app, device);
    own(app);
    for (int i = 0; i < argc; ++i)
      s.command += (i ? " " : "") + std::string(i ? argv[i] : fs::path(argv[i]).filename().string());
    if (const int status = program::parse(app, s.program.c_str(), argc, argv); status >= 0) return status;
    std::string missing = "this build has no CUDA arms (CMake: -DPOLYMOE_CUDA=ON -DPOLYMOE_DEMO_CUDA=ON, with nvcc)",
                gpu;
    if (s.find_gpu && device != "cpu") gpu = s.find_gpu(missing);
    s.device = program::chosen_device(device, gpu + ", " + numbers_on_gpu, missing);
    if (s.out.empty()) s.out = s.program + "-out";
    require(!s.seeds.empty(), "--seeds: at least one is needed");
    s.config = readable(app.config_to_str(true, true)), s.commit = built_from_commit;
    if (!s.plan) {
      program::make_folder(s.out);
      polymoe::write_text(s.out + "/config.toml", s.config);
    }
    program::watch_interrupts();
    return run(s, read_images(s));
  });
}

namespace {

/// Of a run of all seeds, by the rates that --plan measured.
void print_plan(const settings& s, const images& data, const std::vector<result>& measured) {
  const auto seeds = static_cast<double>(s.seeds.size()), epochs = static_cast<double>(s.epochs);
  const double trained = static_cast<double>(data.fit.train.size() / s.batch * s.batch),
               validated = static_cast<double>(data.fit.test.size()), tested = static_cast<double>(data.test.size());
  std::size_t longest = 24;
  for (const result& r : measured) longest = std::max(longest, r.arm.size());
  const int width = static_cast<int>(longest);
  std::printf("\n%-*s %18s %20s %16s %12s\n", width, "arm", "images/s, training", "images/s, evaluation",
              "after a training", "all seeds");
  const double tests = s.keep_best ? 2 : 1;
  double all = 0;
  bool after_known = true;
  for (const result& r : measured) {
    const double train = r.figures.at("plan_train"), evaluate = r.figures.at("plan_evaluate");
    const auto after = r.figures.find("plan_after");
    const bool known = after != r.figures.end();
    const double seconds = seeds * (epochs * (trained / train + validated / evaluate) + tests * tested / evaluate +
                                    (known ? after->second : 0));
    std::printf("%-*s %18.1f %20.1f %16s %12s\n", width, r.arm.c_str(), train, evaluate,
                known ? duration(after->second).c_str() : "-", duration(seconds).c_str());
    all += seconds, after_known = after_known && known;
  }
  std::printf(
      "Predicted: %s for %zu arms x %zu seeds x %lld epochs of %.0f images, with validation and test; what follows "
      "a training %s.  Nothing was written.\n",
      duration(all).c_str(), measured.size(), s.seeds.size(), static_cast<long long>(s.epochs), trained,
      after_known ? "is in it" : "is in it where there is a time for it, else not (probes)");
}

}  // namespace

settings settings_of(const settings& s, const arm& a, const images& data) {
  settings own = s;
  own.steps = a.steps;
  if (a.steps == 0) return own;
  const index per_epoch = std::max<index>(data.fit.train.size() / s.batch, 1);
  own.epochs = polymoe::ceil_div(a.steps, per_epoch);
  // Shares of the run, of which the last epoch may be a short one.
  for (double& share : own.milestones)
    share *= static_cast<double>(a.steps) / static_cast<double>(own.epochs * per_epoch);
  return own;
}

bool is_wanted(const settings& s, const std::string& arm) {
  return s.arms.empty() || std::find(s.arms.begin(), s.arms.end(), arm) != s.arms.end();
}

int run_all(const settings& s, const std::string& model, const std::vector<arm>& arms, const images& data,
            std::vector<result>& out) {
  std::printf("%s: %s, %lld training, %lld validation, %lld test images; %s; %zu seeds, %s, %d threads\n",
              s.program.c_str(), data.name.c_str(), static_cast<long long>(data.fit.train.size()),
              static_cast<long long>(data.fit.test.size()), static_cast<long long>(data.test.size()), model.c_str(),
              s.seeds.size(), s.device.c_str(), s.threads);
  for (std::size_t i = 0; i < arms.size(); ++i)
    for (std::size_t k = 0; k < i; ++k)
      require(arms[i].name != arms[k].name, "arms ", k, " and ", i, " are both ", arms[i].name,
              ": a value is given twice");
  for (const std::string& wish : s.arms) {
    std::string known;
    for (const arm& a : arms) known += (known.empty() ? "" : ", ") + a.name;
    require(std::any_of(arms.begin(), arms.end(), [&](const arm& a) { return a.name == wish; }),
            "--arms: there is no arm '", wish, "'; there are ", known);
  }
  for (const std::uint64_t seed : s.plan ? std::vector{s.seeds.front()} : s.seeds)
    for (const arm& a : arms) {
      if (!is_wanted(s, a.name)) continue;
      const settings own = settings_of(s, a, data);
      if (s.plan) {
        out.push_back(a.run(own, seed, data));
        continue;
      }
      const std::string kept = folder_of(s, a.name, seed) + "/result.json";
      if (s.resume && fs::exists(kept)) {
        out.push_back(read_result(kept, identity_of(own)));
        std::printf("%s, seed %llu: already finished\n", a.name.c_str(), static_cast<unsigned long long>(seed));
        continue;
      }
      if (!s.resume) {  // a new run must not be continued later with what an older one left
        std::error_code ignored;
        for (const char* file : {"/result.json", "/part.json", last_checkpoint, best_checkpoint, at_loss_checkpoint})
          fs::remove(folder_of(s, a.name, seed) + file, ignored);
      }
      out.push_back(a.run(own, seed, data));
      if (out.back().interrupted) return program::stopped();
    }
  if (s.plan) return print_plan(s, data, out), 0;
  return -1;
}

}  // namespace experiment
