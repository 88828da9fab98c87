// Results as JSON: kept for --resume, and for other programs to read; where they are and what they belong to.
#include "experiment.hpp"

#include <cmath>
#include <sstream>

#include <polymoe/train/json_reader.hpp>

namespace experiment {

using polymoe::require;

std::string folder_of(const settings& s, const std::string& arm, std::uint64_t seed) {
  return s.out + "/" + arm + "/seed-" + std::to_string(seed);
}

std::string identity_of(const settings& s) {
  std::ostringstream t;
  t.precision(17);
  t << s.program << ", " << s.data << ", images " << s.images << '/' << s.validation << '/' << s.test_images
    << ", epochs " << s.epochs << ", batch " << s.batch << ", rate " << s.learning_rate << ", decay " << s.weight_decay
    << ", momentum " << s.momentum << ", " << s.augment << (s.variant.empty() ? "" : ", ") << s.variant;
  for (const double m : s.milestones) t << ' ' << m;
  if (s.mixup > 0 || s.cutmix > 0) t << ", mixup " << s.mixup << ", cutmix " << s.cutmix;
  if (!s.rand_augment.empty()) t << ", rand augment " << s.rand_augment.at(0) << ' ' << s.rand_augment.at(1);
  // Those that were not always there say nothing where they are off: what was kept before still counts.
  if (s.cutout > 0) t << ", cutout " << s.cutout;
  if (s.smoothing > 0) t << ", smoothing " << s.smoothing;
  if (s.steps > 0) t << ", steps " << s.steps;
  if (s.keep_best) t << ", best epoch too";
  if (s.split_seed != 42) t << ", split " << s.split_seed;
  if (s.image_size != 64) t << ", image size " << s.image_size;
  if (s.skip_bad) t << ", bad pictures left out";
  // The GPU by name: times of arms are compared as well.
  if (s.on_gpu()) t << ", " << s.device;
  return t.str();
}

void write_result(const std::string& path, const result& r, const std::string& identity) {
  polymoe::json_writer w;
  w.begin_object()
      .field("identity", identity)
      .field("arm", r.arm)
      .field("seed", r.seed)
      .field("commit", r.commit)
      .field("description", r.description);
  w.key("epochs").begin_array();
  for (const epoch_figures& e : r.epochs) {
    w.begin_array();
    for (const double x :
         {e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy, e.seconds, e.drop_rate, e.entropy})
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
      require(found == identity, path, ": the result belongs to another run: it has ", found, ", this run has ",
              identity, "; choose another --out or leave --resume out");
    } else if (key == "arm") {
      r.arm = in.string();
    } else if (key == "seed") {
      r.seed = in.unsigned_integer();
    } else if (key == "commit") {
      r.commit = in.string();
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

}  // namespace experiment
