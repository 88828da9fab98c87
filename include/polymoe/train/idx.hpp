// The IDX format of MNIST and its relatives, plain or gzip: a magic number 00 00 type rank, the sizes (four bytes each,
// big endian), the values.  Unsigned bytes only.  Programs that include this link zlib.
#pragma once

#include "dataset.hpp"
#include "gzip.hpp"

namespace polymoe::inline v0 {

/// The content of one IDX file.
struct idx_array {
  std::vector<index> dims;
  std::vector<std::uint8_t> values;
};

/// Reads a file of `rank` dimensions.  Throws `polymoe::error` with file, byte and both numbers when it is missing,
/// truncated, damaged, of another type or rank, or has bytes left over.
inline idx_array read_idx(const std::string& path, int rank) {
  byte_source in(path);
  unsigned char head[4];
  in.read(head, 4, "the magic number");
  require(head[0] == 0 && head[1] == 0, path, ": byte 0: expected an IDX magic number 0 0 8 ", rank, ", found ",
          int{head[0]}, " ", int{head[1]}, " ", int{head[2]}, " ", int{head[3]});
  require(head[2] == 8, path, ": byte 2: expected type 8 (unsigned bytes), found ", int{head[2]});
  require(head[3] == rank, path, ": byte 3: expected ", rank, " dimensions, found ", int{head[3]});
  idx_array a;
  index size = 1;
  for (int i = 0; i < rank; ++i) {
    unsigned char d[4];
    in.read(d, 4, "the sizes");
    a.dims.push_back(index{d[0]} << 24 | index{d[1]} << 16 | index{d[2]} << 8 | index{d[3]});
    size = checked_mul(size, a.dims.back(), path.c_str());
  }
  require(size <= in.at_most(), path, ": byte ", in.offset(), ": the sizes ask for ", size,
          " values, the file can hold at most ", in.at_most());
  a.values.resize(static_cast<std::size_t>(size));
  in.read(a.values.data(), a.values.size(), "the values");
  in.finish();
  return a;
}

/// Images `[N, H, W]` and labels `[N]` of equal N as a data set of one channel, measured.  Classes are named by
/// `class_names`, or by their number up to the largest label.
inline dataset read_idx_dataset(const std::string& images, const std::string& labels,
                                std::vector<std::string> class_names = {}) {
  idx_array x = read_idx(images, 3);
  const idx_array y = read_idx(labels, 1);
  require(x.dims[0] == y.dims[0], images, ": byte 4: ", x.dims[0], " images, but ", labels, " has ", y.dims[0],
          " labels");
  require(x.dims[0] > 0 && x.dims[1] > 0 && x.dims[2] > 0, images, ": byte 4: the images are [", x.dims[0], ", ",
          x.dims[1], ", ", x.dims[2], "]");
  if (class_names.empty()) {
    const int largest = *std::max_element(y.values.begin(), y.values.end());
    for (int c = 0; c <= largest; ++c) class_names.push_back(std::to_string(c));
  }
  dataset d;
  d.channels = 1, d.height = x.dims[1], d.width = x.dims[2];
  d.pixels = std::move(x.values);
  d.class_names = std::move(class_names);
  for (std::size_t i = 0; i < y.values.size(); ++i) {
    require(y.values[i] < d.class_names.size(), labels, ": byte ", 8 + i, ": label ", int{y.values[i]}, ", there are ",
            d.class_names.size(), " classes");
    d.labels.push_back(y.values[i]);
  }
  d.check();
  d.measure();
  return d;
}

/// The four files of Fashion-MNIST (or MNIST, whose files have the same names).
struct fashion_mnist_files {
  std::string train_images, train_labels, test_images, test_labels;
};

/// Where Debian's package dataset-fashion-mnist puts the files.
inline constexpr const char* fashion_mnist_folder = "/usr/share/datasets/fashion-mnist";

/// Whether a folder holds the four files, plain or with ".gz".
inline bool has_fashion_mnist(const std::string& folder = fashion_mnist_folder) {
  for (const char* name :
       {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"})
    if (!file_exists(folder + "/" + name) && !file_exists(folder + "/" + name + ".gz")) return false;
  return true;
}

/// The paths of the four files in `folder`, plain before ".gz".  Throws with the missing name and how to get it.
inline fashion_mnist_files find_fashion_mnist(const std::string& folder = fashion_mnist_folder) {
  const auto find = [&](const std::string& name) {
    const std::string path = folder + "/" + name;
    if (file_exists(path)) return path;
    require(file_exists(path + ".gz"), path,
            ".gz: not found, and not without .gz; install the package "
            "dataset-fashion-mnist or name the folder that has the files");
    return path + ".gz";
  };
  return {find("train-images-idx3-ubyte"), find("train-labels-idx1-ubyte"), find("t10k-images-idx3-ubyte"),
          find("t10k-labels-idx1-ubyte")};
}

/// Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv 1708.07747): 60,000 + 10,000 images `[1, 28, 28]` of 10 classes.
inline train_test read_fashion_mnist(const std::string& folder = fashion_mnist_folder) {
  const auto f = find_fashion_mnist(folder);
  const std::vector<std::string> names = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                          "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  train_test t{read_idx_dataset(f.train_images, f.train_labels, names),
               read_idx_dataset(f.test_images, f.test_labels, names)};
  require(t.train.height == t.test.height && t.train.width == t.test.width, f.test_images, ": images are ",
          t.test.height, "x", t.test.width, ", those for training ", t.train.height, "x", t.train.width);
  t.test.mean = t.train.mean;
  t.test.stddev = t.train.stddev;
  return t;
}

}  // namespace polymoe
