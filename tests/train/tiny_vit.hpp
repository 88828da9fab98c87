// A vision transformer small enough to train in a test, and images it can learn.
#pragma once

#include <polymoe/nn/vit.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/train/trainer.hpp>

namespace polymoe::inline v0 {
namespace tiny {

/// Everything a checkpoint can hold: noise, two balance losses, a hard capacity, and state (the loss-free bias).
template <class T>
struct moe_spec : spec {
  using scalar = T;
  using router = top_k<2, score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using balance =
      polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load, polymoe::balance::loss_free_bias>;
  static constexpr int most_experts = 32;
};
template <class T, class B = cpu>
using moe_layer = nn::named<"moe", layer<moe_spec<T>, B>>;
template <class T, class B = cpu>
using moe_vit = nn::vit<moe_layer<T, B>>;
template <class T>
using dense_mlp = nn::named<"mlp", nn::mlp_block<T>>;

inline constexpr index classes = 4, experts = 4, depth = 2, tokens = 16;

constexpr nn::vit_sizes sizes(index dim = 16) {
  nn::vit_sizes s;
  s.channels = 1, s.height = 8, s.width = 8, s.patch = 2;
  s.dim = dim, s.heads = 2, s.depth = depth, s.classes = classes;
  return s;
}
template <class T, class B = cpu>
moe_vit<T, B> moe_model(index dim = 16) {
  typename moe_layer<T, B>::config c;
  c.dim = dim, c.hidden = 16, c.experts = experts;
  c.capacity.factor = 1.25f;
  return moe_vit<T, B>(nn::vit_config<moe_layer<T, B>>(sizes(dim), c));
}

/// `count` images of `classes` kinds: the pattern of the class, chosen at random, under noise.
inline dataset clusters(index count, std::uint64_t seed) {
  dataset d;
  d.channels = 1, d.height = 8, d.width = 8;
  for (index c = 0; c < classes; ++c) d.class_names.push_back("kind " + std::to_string(c));
  const random_stream pattern = random_root{7}.stream(stream_id("pattern"), 0);
  const random_stream noise = random_root{seed}.stream(stream_id("noise"), 0);
  for (index i = 0; i < count; ++i) {
    const index c = i % classes;
    d.labels.push_back(static_cast<std::int32_t>(c));
    for (index p = 0; p < 64; ++p) {
      const double x = 160 * pattern.uniform(static_cast<std::uint64_t>(c * 64 + p)) +
                       95 * noise.uniform(static_cast<std::uint64_t>(i * 64 + p));
      d.pixels.push_back(static_cast<std::uint8_t>(x));
    }
  }
  return d;
}
inline train_test images(index train = 64, index test = 50) {
  train_test t{clusters(train, 1), clusters(test, 2)};
  t.train.measure();
  t.test.mean = t.train.mean, t.test.stddev = t.train.stddev;
  return t;
}
inline train_options options(index epochs = 3, int threads = 1) {
  train_options o;
  o.batch = 16, o.epochs = epochs, o.learning_rate = 5e-3, o.warmup_epochs = 1, o.threads = threads, o.seed = 3;
  o.augment.mirror = flip::random, o.augment.pad = 1;
  return o;
}

/// Every bit that training has to carry on from: parameters, moments, state and sums, by way of a checkpoint.
template <class Trainer>
std::map<std::string, std::vector<std::byte>> everything(Trainer& t, const std::string& path) {
  t.save(path);
  const safetensors_file file(path);
  std::map<std::string, std::vector<std::byte>> all;
  for (const tensor_ref& x : file.tensors()) {
    const auto* p = static_cast<const std::byte*>(x.data);
    if (x.name != "trainer.seconds") all[x.name].assign(p, p + x.bytes());
  }
  for (const auto& [key, text] : file.metadata()) {
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    all["metadata " + key].assign(p, p + text.size());
  }
  return all;
}
/// The names that differ, for a message that says what.
inline std::string difference(const std::map<std::string, std::vector<std::byte>>& a,
                              const std::map<std::string, std::vector<std::byte>>& b) {
  std::string names;
  for (const auto& [name, bytes] : a)
    if (const auto it = b.find(name); it == b.end() || it->second != bytes) names += name + " ";
  for (const auto& [name, bytes] : b)
    if (!a.count(name)) names += name + " ";
  return names;
}

}  // namespace tiny
}  // namespace polymoe
