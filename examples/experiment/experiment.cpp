// Options, data, and the run through arms and seeds.
#include "experiment.hpp"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include <polymoe/train/cifar.hpp>
#include <polymoe/train/file.hpp>
#include <polymoe/train/idx.hpp>
#include <polymoe/train/synthetic.hpp>

#include "device.hpp"
#include "program.hpp"

namespace experiment {

namespace fs = std::filesystem;
using polymoe::require;

namespace {

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
  app.add_option("--mixup", s.mixup, "alpha of mixup; 0: off")->check(CLI::Range(0.0, 1e3));
  app.add_option("--cutmix", s.cutmix, "alpha of CutMix; 0: off; with --mixup a coin per batch decides")
      ->check(CLI::Range(0.0, 1e3));
  app.add_option("--rand-augment", s.rand_augment,
                 "N,M: RandAugment's operations of an image (to 16) and their strength (to 30)")
      ->delimiter(',')
      ->expected(2);
  app.add_option("--threads", s.threads, "threads; results do not depend on it")->check(CLI::Range(1, 1024));
  app.add_flag("--resume", s.resume, "continue the run in --out")->configurable(false);
}

/// CLI11 quotes the lists that are defaults, and cannot read that back, nor an empty list.
std::string readable(const std::string& config) {
  std::istringstream in(config);
  std::string out, line;
  while (std::getline(in, line)) {
    const std::size_t open = line.find("=\"["), at = line.find("=[");
    if (open != std::string::npos && line.ends_with("]\"")) {
      line.pop_back();
      line.erase(open + 1, 1);
    } else if (at == std::string::npos) {
      out += line + "\n";
      continue;
    }
    if (!line.ends_with("=[]")) out += line + "\n";
  }
  return out;
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

int main_of(int argc, char** argv, settings s, const char* about, const std::function<void(CLI::App&)>& own,
            const std::function<int(settings&, const images&)>& run) {
  return program::main_of(s.program.c_str(), [&] {
    CLI::App app{about};
    std::string device = "auto";
    add_options(app, s);
    program::add_device_option(app, device);
    own(app);
    for (int i = 0; i < argc; ++i) s.command += (i ? " " : "") + std::string(i ? argv[i] : fs::path(argv[i]).filename().string());
    if (const int status = program::parse(app, s.program.c_str(), argc, argv); status >= 0) return status;
    std::string missing = s.no_gpu, gpu;
    if (s.find_gpu && device != "cpu") gpu = s.find_gpu(missing);
    s.device = program::chosen_device(device, gpu + ", " + numbers_on_gpu, missing);
    if (s.out.empty()) s.out = s.program + "-out";
    require(!s.seeds.empty(), "--seeds: at least one is needed");
    program::make_folder(s.out);
    polymoe::write_text(s.out + "/config.toml", readable(app.config_to_str(true, true)));
    program::watch_interrupts();
    return run(s, read_images(s));
  });
}

bool run_all(const settings& s, const std::string& model, const std::vector<arm>& arms, const images& data,
             std::vector<result>& out) {
  std::printf("%s: %s, %lld training, %lld validation, %lld test images; %s; %zu seeds, %s, %d threads\n", s.program.c_str(),
              data.name.c_str(), static_cast<long long>(data.fit.train.size()), static_cast<long long>(data.fit.test.size()),
              static_cast<long long>(data.test.size()), model.c_str(), s.seeds.size(), s.device.c_str(), s.threads);
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

}  // namespace experiment
