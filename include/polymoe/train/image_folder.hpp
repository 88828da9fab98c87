// Data sets as folders of pictures: one folder per class (ImageNet), and Tiny-ImageNet's layout.
//
//   root/<class>/*.png|jpg|jpeg            list_image_folder(root); also root/<class>/images/*
//   tiny/train/<class>/images, tiny/val/images + val_annotations.txt   list_tiny_imagenet(tiny, part)
//
// Lists are sorted by name, so labels and order do not depend on the file system.  read_images decodes on several
// threads into one dataset in memory; the result does not depend on their number.  image_prefetch.hpp:
// one after the other instead.
#pragma once

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <thread>

#include "dataset.hpp"
#include "file.hpp"
#include "resize.hpp"

namespace polymoe::inline v0 {

/// Pictures and their classes, not yet read.
struct image_list {
  std::vector<std::string> paths;
  std::vector<std::int32_t> labels;
  std::vector<std::string> class_names;
};

namespace detail {
inline bool is_picture(const std::filesystem::path& p) {
  std::string end = p.extension().string();
  for (char& c : end) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return end == ".png" || end == ".jpg" || end == ".jpeg";
}
/// Entries of a folder in the order of their names; hidden ones are left out.
inline std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder) {
  std::error_code bad;
  std::vector<std::filesystem::path> all;
  for (std::filesystem::directory_iterator it(folder, bad), end; !bad && it != end; it.increment(bad))
    if (it->path().filename().string().front() != '.') all.push_back(it->path());
  require(!bad, folder.string(), ": cannot be listed: ", bad.message());
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.filename().string() < b.filename().string(); });
  return all;
}
inline std::vector<std::filesystem::path> pictures_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> all;
  for (const auto& p : entries_of(folder))
    if (is_picture(p)) all.push_back(p);
  return all;
}
}  // namespace detail

/// One class per folder of `root`, in the order of their names.  A class folder may hold its pictures in `images/`.
/// Throws when there is no class, or one without pictures.
inline image_list list_image_folder(const std::string& root) {
  image_list out;
  for (const auto& folder : detail::entries_of(root)) {
    if (!std::filesystem::is_directory(folder)) continue;
    auto pictures = detail::pictures_of(folder);
    if (pictures.empty() && std::filesystem::is_directory(folder / "images"))
      pictures = detail::pictures_of(folder / "images");
    require(!pictures.empty(), folder.string(), ": a class without pictures (.png, .jpg, .jpeg)");
    for (const auto& p : pictures)
      out.paths.push_back(p.string()), out.labels.push_back(static_cast<std::int32_t>(out.class_names.size()));
    out.class_names.push_back(folder.filename().string());
  }
  require(!out.class_names.empty(), root, ": no class folders in it");
  return out;
}

/// Tiny-ImageNet as published: `part` is "train" or "val".  Classes are those of train, in the order of their names.
inline image_list list_tiny_imagenet(const std::string& root, const std::string& part) {
  require(part == "train" || part == "val", "list_tiny_imagenet: there are parts train and val, not ", part);
  image_list train = list_image_folder(root + "/train");
  if (part == "train") return train;
  std::map<std::string, std::int32_t> number;
  for (const std::string& name : train.class_names) number.emplace(name, static_cast<std::int32_t>(number.size()));
  image_list out;
  out.class_names = train.class_names;
  const std::string table = root + "/val/val_annotations.txt", text = read_text(table);
  // A line: file name, class, box; separated by tabs.
  std::size_t line = 1;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string row = text.substr(at, end - at);
    at = end + 1;
    if (row.empty()) continue;
    const std::size_t first = row.find('\t'), second = first == std::string::npos ? first : row.find('\t', first + 1);
    require(second != std::string::npos, table, ": line ", line, " has no file and class separated by tabs");
    const std::string name = row.substr(0, first), kind = row.substr(first + 1, second - first - 1);
    const auto it = number.find(kind);
    require(it != number.end(), table, ": line ", line, ": class ", kind, " is not in train");
    require(name.find('/') == std::string::npos, table, ": line ", line, ": the file name ", name,
            " leaves its folder");
    out.paths.push_back(root + "/val/images/" + name), out.labels.push_back(it->second);
  }
  require(!out.paths.empty(), table, ": names no pictures");
  return out;
}

struct read_images_options {
  index height = 224, width = 224;  ///< of every image of the data set
  index shorter_side = 256;         ///< scale first; 0: only cut
  int channels = 3;  ///< 1 or 3; colour becomes grey by 0.299 R + 0.587 G + 0.114 B, grey becomes three equal ones
  int threads = 1;
  bool skip_bad = false;  ///< leave unreadable pictures out, and name them, instead of an error
};
/// A picture that was left out.
struct skipped_image {
  std::string path, why;
};
struct read_images_result {
  dataset data;  ///< without mean and deviation: call measure(), or take those of the training images
  std::vector<skipped_image> skipped;
};

namespace detail {
/// Values of one picture; throws unless list and options make sense.
inline index check_reading(const image_list& list, const read_images_options& o) {
  require(list.paths.size() == list.labels.size(), "read_images: ", list.paths.size(), " pictures, ",
          list.labels.size(), " labels");
  require(o.height > 0 && o.width > 0 && o.shorter_side >= 0 && (o.channels == 1 || o.channels == 3) && o.threads >= 1,
          "read_images: ", o.height, "x", o.width, ", shorter side ", o.shorter_side, ", ", o.channels, " channels, ",
          o.threads, " threads");
  return checked_mul(o.height * o.width, o.channels, "read_images");
}
/// One picture to `to` `[C, H, W]`; returns what is wrong with it, with its path, or nothing.
inline std::string read_picture(const std::string& path, const read_images_options& o, std::uint8_t* to) {
  const index plane = o.height * o.width;
  try {
    const auto file = read_file(path);
    const decoded_image at =
        resize_and_crop(decode_image({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()}, path),
                        o.shorter_side, o.height, o.width);
    for (index k = 0; k < plane; ++k) {
      const std::uint8_t* p = at.pixels.data() + k * at.channels;
      if (o.channels == 1)
        to[k] = at.channels == 1 ? *p : static_cast<std::uint8_t>((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000);
      else
        for (int c = 0; c < 3; ++c) to[c * plane + k] = p[at.channels == 1 ? 0 : c];
    }
  } catch (const std::exception& e) {
    return std::string(e.what()).find(path) == std::string::npos ? path + ": " + e.what() : e.what();
  }
  return {};
}
}  // namespace detail

/// Decodes, scales and cuts every picture of a list.  `progress(done, all)` is called now and then, from the calling
/// thread.  An unreadable picture throws the error of the first in the order of the list, whatever the threads.
template <class Progress>
read_images_result read_images(const image_list& list, const read_images_options& o, Progress progress) {
  const index features = detail::check_reading(list, o), n = static_cast<index>(list.paths.size());
  dataset d;
  d.channels = o.channels, d.height = o.height, d.width = o.width, d.class_names = list.class_names;
  d.pixels.resize(static_cast<std::size_t>(checked_mul(features, n, "read_images: bytes")));
  std::vector<std::string> wrong(static_cast<std::size_t>(n));
  std::atomic<index> next{0}, done{0}, failed{n};
  const auto one = [&](index i) {
    std::string& what = wrong[static_cast<std::size_t>(i)];
    what = detail::read_picture(list.paths[static_cast<std::size_t>(i)], o, d.pixels.data() + i * features);
    // No later picture decides which error is told.
    if (!what.empty() && !o.skip_bad)
      for (index before = failed; i < before && !failed.compare_exchange_weak(before, i);) {}
    ++done;
  };
  const auto work = [&](bool tells) {
    for (index i; (i = next++) < n && i < failed;) {
      one(i);
      if (tells) progress(done.load(), n);
    }
  };
  {
    std::vector<std::jthread> team;  // joined also when `progress` throws
    for (int t = 1; t < o.threads; ++t) team.emplace_back(work, false);
    try {
      work(true);
    } catch (...) {
      next = n;
      throw;
    }
  }
  if (failed < n) detail::fail(wrong[static_cast<std::size_t>(failed.load())]);

  read_images_result out;
  index kept = 0;
  for (index i = 0; i < n; ++i) {
    if (!wrong[static_cast<std::size_t>(i)].empty()) {
      out.skipped.push_back({list.paths[static_cast<std::size_t>(i)], wrong[static_cast<std::size_t>(i)]});
      continue;
    }
    if (kept != i) std::copy_n(d.pixels.begin() + i * features, features, d.pixels.begin() + kept * features);
    d.labels.push_back(list.labels[static_cast<std::size_t>(i)]);
    ++kept;
  }
  d.pixels.resize(static_cast<std::size_t>(kept * features));
  out.data = std::move(d);
  return out;
}
inline read_images_result read_images(const image_list& list, const read_images_options& o = {}) {
  return read_images(list, o, [](index, index) {});
}

}  // namespace polymoe
