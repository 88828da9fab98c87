// What --data names, and its split.
#include <filesystem>
#include <numeric>

#include <polymoe/train/cifar.hpp>
#include <polymoe/train/file.hpp>
#include <polymoe/train/idx.hpp>
#include <polymoe/train/image_prefetch.hpp>
#include <polymoe/train/synthetic.hpp>

#include "experiment.hpp"

namespace experiment {
namespace {

namespace fs = std::filesystem;
using polymoe::require;
using polymoe::train_test;

/// Test images take the statistics of the training images.
train_test measured(polymoe::dataset train, polymoe::dataset test) {
  if (train.mean.empty()) train.measure();
  test.mean = train.mean, test.stddev = train.stddev;
  return {std::move(train), std::move(test)};
}

train_test made_up() {
  polymoe::synthetic_options o{.per_class = 500};
  polymoe::dataset train = polymoe::synthetic_images(o);
  o.part = 1, o.per_class = 100;
  return measured(std::move(train), polymoe::synthetic_images(o));
}

/// Classes are the labels that the training images have.
train_test read_idx_folder(const std::string& folder) {
  const auto files = polymoe::find_fashion_mnist(folder);
  polymoe::dataset train = polymoe::read_idx_dataset(files.train_images, files.train_labels);
  polymoe::dataset test = polymoe::read_idx_dataset(files.test_images, files.test_labels, train.class_names);
  require(train.height == test.height && train.width == test.width, files.test_images, ": images are ", test.height,
          "x", test.width, ", those for training ", train.height, "x", train.width);
  return measured(std::move(train), std::move(test));
}

train_test read_pictures(const settings& s, std::vector<std::string>& skipped) {
  const bool tiny = fs::exists(s.data + "/val/val_annotations.txt");
  const polymoe::image_list train =
      tiny ? polymoe::list_tiny_imagenet(s.data, "train") : polymoe::list_image_folder(s.data + "/train");
  const polymoe::image_list test =
      tiny ? polymoe::list_tiny_imagenet(s.data, "val") : polymoe::list_image_folder(s.data + "/val");
  for (std::size_t c = 0; c < std::max(train.class_names.size(), test.class_names.size()); ++c) {
    const auto name = [c](const polymoe::image_list& l) {
      return c < l.class_names.size() ? l.class_names[c] : std::string("(none)");
    };
    require(name(train) == name(test), s.data, ": class ", c, " of train/ is ", name(train), ", of val/ ", name(test));
  }
  polymoe::read_images_options o;
  o.height = o.width = o.shorter_side = s.image_size;
  o.threads = s.threads, o.skip_bad = s.skip_bad;
  const auto read = [&](const polymoe::image_list& list) {
    polymoe::read_images_result r = s.stream ? polymoe::open_images(list, o) : polymoe::read_images(list, o);
    for (const polymoe::skipped_image& x : r.skipped) skipped.push_back(x.why);
    require(r.data.size() > 0, s.data, ": of ", list.paths.size(), " pictures 0 can be read");
    return std::move(r.data);
  };
  polymoe::dataset first = read(train);
  return measured(std::move(first), read(test));
}

train_test read_any(const settings& s, images& all) {
  if (s.data == "synthetic") return all.name = "made-up images", made_up();
  if (s.data == "fashion") return all.name = "Fashion-MNIST", polymoe::read_fashion_mnist();
  const auto there = [&](const char* what) { return fs::exists(s.data + what); };
  const bool hundred = there("/cifar-100-binary") || there("/train.bin");
  const bool ten = there("/cifar-10-batches-bin") || there("/data_batch_1.bin");
  const bool idx = there("/train-images-idx3-ubyte") || there("/train-images-idx3-ubyte.gz");
  const bool pictures = fs::is_directory(s.data + "/train") && fs::is_directory(s.data + "/val");
  const int kinds = ten + hundred + idx + pictures;
  require(kinds <= 1, s.data, ": it holds ", kinds, " data sets", ten ? ", CIFAR-10" : "", hundred ? ", CIFAR-100" : "",
          idx ? ", IDX files" : "", pictures ? ", folders train and val" : "", "; name the folder of one of them");
  if (ten) return all.name = "CIFAR-10", polymoe::read_cifar10(s.data);
  if (hundred) return all.name = "CIFAR-100", polymoe::read_cifar100(s.data);
  if (idx) return all.name = "IDX files of " + s.data, read_idx_folder(s.data);
  require(
      pictures, s.data,
      ": 0 data sets there: neither binary files of CIFAR-10 or CIFAR-100 (data_batch_1.bin or "
      "train.bin), nor IDX files (train-images-idx3-ubyte), nor folders train and val with a folder of pictures for "
      "every class");
  all.name = "pictures of " + s.data;
  return read_pictures(s, all.skipped);
}

}  // namespace

images read_images(const settings& s) {
  images all;
  train_test raw = read_any(s, all);
  // A fixed order of the training images: the last of it are for validation, whatever the seed of a run.
  const polymoe::random_stream draw =
      polymoe::random_root{s.split_seed}.stream(polymoe::stream_id("experiment.split"), 0);
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

}  // namespace experiment
