// The binary versions of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning multiple layers of features from tiny images",
// 2009): records of one or two label bytes and 3072 bytes, the red, green and blue plane of 32x32.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "dataset.hpp"
#include "file.hpp"

namespace polymoe::inline v0 {

namespace detail {

/// Appends the records of one file.  With two label bytes the first is the super-class.
inline void append_cifar(dataset& d, const std::string& path, bool two_labels) {
  const auto bytes = read_file(path);
  const std::size_t labels = two_labels ? 2 : 1, record = labels + 3072;
  require(!bytes.empty() && bytes.size() % record == 0, path, ": ", bytes.size(), " bytes, expected records of ",
          record, ", the last one at byte ", bytes.size() / record * record, " has ", bytes.size() % record);
  for (std::size_t at = 0; at < bytes.size(); at += record) {
    const auto label = [&](std::size_t i, std::size_t classes, std::vector<std::int32_t>& out) {
      const int v = std::to_integer<int>(bytes[at + i]);
      require(static_cast<std::size_t>(v) < classes, path, ": byte ", at + i, ": label ", v, ", there are ", classes,
              " classes");
      out.push_back(v);
    };
    if (two_labels) label(0, d.coarse_names.size(), d.coarse);
    label(labels - 1, d.class_names.size(), d.labels);
    const auto* p = reinterpret_cast<const std::uint8_t*>(bytes.data() + at + labels);
    d.pixels.insert(d.pixels.end(), p, p + 3072);
  }
}

/// One name a line; exactly `count` of them, or numbers when there is no such file.
inline std::vector<std::string> cifar_names(const std::string& path, std::size_t count) {
  std::vector<std::string> names;
  if (file_exists(path)) {
    std::string line;
    for (const char c : read_text(path) + "\n") {
      if (c != '\n') {
        if (c != '\r') line += c;
      } else if (!line.empty()) {
        names.push_back(std::exchange(line, {}));
      }
    }
    require(names.size() == count, path, ": ", names.size(), " names, expected ", count);
  }
  for (std::size_t i = names.size(); i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

inline dataset read_cifar(std::initializer_list<std::string> files, bool two_labels, std::vector<std::string> names,
                          std::vector<std::string> coarse_names) {
  dataset d;
  d.channels = 3, d.height = 32, d.width = 32;
  d.class_names = std::move(names);
  d.coarse_names = std::move(coarse_names);
  for (const auto& f : files) append_cifar(d, f, two_labels);
  d.check();
  d.measure();
  return d;
}

inline std::string cifar_folder(const std::string& folder, const char* inner, const char* file) {
  const std::string below = folder + "/" + inner;
  return file_exists(below + "/" + file) ? below : folder;
}

}  // namespace detail

/// CIFAR-10 from `folder` or its `cifar-10-batches-bin`: data_batch_1.bin .. data_batch_5.bin, test_batch.bin.
/// Errors have file and byte: missing, cut short, a label of 10 or more.
inline train_test read_cifar10(const std::string& folder) {
  const std::string at = detail::cifar_folder(folder, "cifar-10-batches-bin", "test_batch.bin") + "/";
  const std::vector<std::string> names = {"airplane", "automobile", "bird",  "cat",  "deer",
                                          "dog",      "frog",       "horse", "ship", "truck"};
  train_test t{detail::read_cifar({at + "data_batch_1.bin", at + "data_batch_2.bin", at + "data_batch_3.bin",
                                   at + "data_batch_4.bin", at + "data_batch_5.bin"},
                                  false, names, {}),
               detail::read_cifar({at + "test_batch.bin"}, false, names, {})};
  t.test.mean = t.train.mean;
  t.test.stddev = t.train.stddev;
  return t;
}

/// CIFAR-100 from `folder` or its `cifar-100-binary`: train.bin, test.bin, and the names in fine_label_names.txt and
/// coarse_label_names.txt where they exist.  `coarse` holds the 20 super-classes.
inline train_test read_cifar100(const std::string& folder) {
  const std::string at = detail::cifar_folder(folder, "cifar-100-binary", "train.bin") + "/";
  const auto fine = detail::cifar_names(at + "fine_label_names.txt", 100);
  const auto coarse = detail::cifar_names(at + "coarse_label_names.txt", 20);
  train_test t{detail::read_cifar({at + "train.bin"}, true, fine, coarse),
               detail::read_cifar({at + "test.bin"}, true, fine, coarse)};
  t.test.mean = t.train.mean;
  t.test.stddev = t.train.stddev;
  return t;
}

}  // namespace polymoe
