// cnn_experts: trains a small CNN whose middle stage is a layer of convolution experts that take whole feature maps.
//
//   image -> conv 3x3 -> pool -> conv 3x3 -> pool -> x + experts(norm(x)) -> mean over the map -> classes
//
// 'CNN 32-64, E=4, K=2, conv blocks on the middle maps'.  With --data a folder with the binary files of CIFAR-10;
// without it Fashion-MNIST from Debian's dataset-fashion-mnist; `--data patterns` makes images up, which need no file.
// cuda: yes
// ctest: --data patterns --images 640 --epochs 10 --batch 32 --width 16 --threads 1 --check
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include <polymoe/nn/small_cnn.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/train/cifar.hpp>
#include <polymoe/train/idx.hpp>
#include <polymoe/train/synthetic.hpp>
#include <polymoe/train/trainer.hpp>
#if defined(__CUDACC__)
#include <polymoe/backend/cuda/dispatch/conv.cuh>
#include <polymoe/backend/cuda/dispatch/group_norm.cuh>
#include <polymoe/backend/cuda/dispatch/pool2d.cuh>
#include <polymoe/cuda_nn.cuh>
#endif

#include "experiment/device.hpp"
#include "with_device.hpp"

namespace {

namespace nn = polymoe::nn;
using polymoe::index;
using T = float;

/// Two of E convolution blocks per map, chosen by the mean of its channels; a map without a place passes through.
struct map_moe : polymoe::spec {
  using unit = polymoe::unit::feature_map;
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using expert = polymoe::expert::conv_block<>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};

template <class B>
using moe = nn::named<"moe", polymoe::layer<map_moe, B>>;
/// A body of one block, which has the experts.
template <class B>
using body = nn::cnn_block<moe<B>, T, B>;
template <class B>
using model_on = nn::small_cnn_of<body<B>, T, B>;

template <class B>
typename model_on<B>::config model_config(const nn::small_cnn_sizes& s, index experts) {
  typename moe<B>::config layer;
  layer.dim = layer.hidden = s.body(), layer.experts = experts, layer.unit_rows = s.pixels();
  layer.map_height = s.map_height(), layer.capacity.factor = 1.5f;
  return nn::small_cnn_of_config<body<B>, T, B>(s, nn::cnn_block_config<moe<B>>(s, layer));
}

polymoe::train_test read(const std::string& data) {
  if (data == "patterns") {
    polymoe::synthetic_options o{.per_class = 640, .height = 16, .width = 16};
    polymoe::train_test t;
    t.train = polymoe::synthetic_images(o);
    o.part = 1, o.per_class = 100;
    t.test = polymoe::synthetic_images(o);
    t.train.measure();
    t.test.mean = t.train.mean, t.test.stddev = t.train.stddev;
    return t;
  }
  return data.empty() ? polymoe::read_fashion_mnist() : polymoe::read_cifar10(data);
}

struct options {
  std::string data, device = "auto";
  long long epochs = 4, images = 0, batch = 128, narrow = 32, experts = 4, seed = 1;
  int threads = polymoe::hardware_threads();
  bool check = false;
};

/// On either backend.
template <class B>
int train(const options& asked) {
  using model = model_on<B>;
  polymoe::train_test set = read(asked.data);
  if (asked.images > 0 && asked.images < set.train.size()) set.train = set.train.slice(0, asked.images);
  const polymoe::dataset& d = set.train;
  nn::small_cnn_sizes sizes;
  sizes.channels = d.channels, sizes.height = d.height, sizes.width = d.width;
  sizes.base = asked.narrow, sizes.classes = d.classes();
  const auto config = model_config<B>(sizes, asked.experts);
  polymoe::train_options o;
  o.batch = asked.batch, o.epochs = asked.epochs, o.learning_rate = 2e-3, o.threads = asked.threads;
  o.seed = static_cast<std::uint64_t>(asked.seed);
  if (asked.data != "patterns") o.augment.mirror = polymoe::flip::random;
  polymoe::trainer<model> t(model(config), o, set);
  const polymoe::cost cost = model::count(config, 1);
  std::printf(
      "cnn_experts: CNN %lld-%lld, E=%lld, K=2, conv blocks on %lld x %lld maps; %s, %lld images of %lld x %lld x "
      "%lld; %lld parameters, %lld active, %.1f MMAC an image; batch %lld, %lld epochs, AdamW %g, seed %lld\n",
      asked.narrow, 2 * asked.narrow, asked.experts, static_cast<long long>(d.height / 4),
      static_cast<long long>(d.width / 4),
      asked.data.empty()         ? "Fashion-MNIST"
      : asked.data == "patterns" ? "patterns"
                                 : "CIFAR-10",
      static_cast<long long>(d.size()), static_cast<long long>(d.channels), static_cast<long long>(d.height),
      static_cast<long long>(d.width), static_cast<long long>(cost.params), static_cast<long long>(cost.active_params),
      static_cast<double>(cost.macs) * 1e-6, asked.batch, asked.epochs, o.learning_rate, asked.seed);

  std::vector<double> losses;
  while (!t.finished()) {
    do losses.push_back(t.step().loss);
    while (t.step_in_epoch() != 0);
    const polymoe::train_summary train = t.epoch_summary(), test = t.evaluate();
    std::printf(
        "epoch %lld: train loss %.4f accuracy %.4f | test loss %.4f accuracy %.4f | %.0f images/s, dropped %.3f\n",
        static_cast<long long>(t.epoch()), train.loss, train.accuracy, test.loss, test.accuracy,
        train.images_per_second, train.experts.drop_rate());
    std::fflush(stdout);
  }
  const auto mean = [&](std::size_t first) {
    double sum = 0;
    for (std::size_t i = first; i < first + 4; ++i) sum += losses[i];
    return sum / 4;
  };
  if (!asked.check) return 0;
  polymoe::require(losses.size() >= 8, "cnn_experts: ", losses.size(), " steps are too few for --check, at least 8");
  const double before = mean(0), after = mean(losses.size() - 4);
  std::printf("loss of the first four steps %.4f, of the last four %.4f\n", before, after);
  return after < before * 2 / 3 ? 0 : 1;
}

int run(int argc, char** argv) {
  options o;
  CLI::App app("Trains a small CNN whose middle stage is a layer of convolution experts.");
  app.add_option("--data", o.data, "folder with CIFAR-10's binary files, or 'patterns'; default: Fashion-MNIST");
  app.add_option("--epochs", o.epochs, "passes over the training images")->check(CLI::PositiveNumber);
  app.add_option("--images", o.images, "training images to use; 0: all")->check(CLI::NonNegativeNumber);
  app.add_option("--batch", o.batch, "images of a step")->check(CLI::PositiveNumber);
  app.add_option("--width", o.narrow, "channels of the first stage, a multiple of 8")->check(CLI::PositiveNumber);
  app.add_option("--experts", o.experts, "experts of the middle stage")->check(CLI::PositiveNumber);
  program::add_device_option(app, o.device);
  app.add_option("--threads", o.threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--seed", o.seed, "seed of everything random")->check(program::not_negative);
  app.add_flag("--check", o.check, "return 1 unless the loss fell by a third");
  CLI11_PARSE(app, argc, argv);
  return program::with_device(o.device, [&](auto backend) { return train<decltype(backend)>(o); });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "cnn_experts: %s\n", e.what());
    return 1;
  }
}
