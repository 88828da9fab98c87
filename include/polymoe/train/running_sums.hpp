// The sums of an unfinished epoch, which a checkpoint carries so that the epoch's log line is the same after a resume.
#pragma once

#include <string>
#include <vector>

#include "safetensors.hpp"
#include "step_record.hpp"

namespace polymoe::inline v0 {

struct running_sums {
  index images = 0, hits = 0;
  double loss = 0, seconds = 0;
  model_telemetry experts;

  void add(const step_record& x) {
    images += x.images, hits += x.correct;
    loss += x.loss;
    auto& layers = experts.layers;
    layers.resize(std::max(layers.size(), x.experts.layers.size()));
    for (std::size_t i = 0; i < x.experts.layers.size(); ++i) layers[i].add(x.experts.layers[i]);
  }
  /// As numbers; the time is apart.
  std::vector<double> packed() const;
  /// From the tensor "trainer.sums" of a file.  Throws when packed() did not write it.
  static running_sums unpacked(const safetensors_file& file, const std::string& path);
};

inline std::vector<double> running_sums::packed() const {
  std::vector<double> v{static_cast<double>(images), static_cast<double>(hits), loss,
                        static_cast<double>(experts.layers.size())};
  for (const auto& l : experts.layers) {
    for (const index n : {l.calls, l.units, l.choices, l.placed, l.overflow, l.bad_rows})
      v.push_back(static_cast<double>(n));
    v.insert(v.end(), {l.entropy, l.margin, l.load_cv, l.max_over_mean, static_cast<double>(l.load.size())});
    v.insert(v.end(), l.load.begin(), l.load.end());
  }
  return v;
}

inline running_sums running_sums::unpacked(const safetensors_file& file, const std::string& path) {
  const tensor_ref& stored = file.at("trainer.sums");
  std::vector<double> v(static_cast<std::size_t>(stored.elements()));
  file.copy_to("trainer.sums", std::span<double>(v));
  std::size_t at = 0;
  const auto next = [&] {
    require(at < v.size(), path, ": trainer.sums ends after ", v.size(), " numbers");
    return v[at++];
  };
  // A double holds every count below 2^53; anything else was not written by packed().
  const auto count = [&](const char* what, double most) {
    const double x = next();
    require(x >= 0 && x <= most && x == std::floor(x), path, ": trainer.sums has ", x, " ", what, ", at most ", most,
            " are possible");
    return static_cast<index>(x);
  };
  constexpr double large = 9007199254740992.0;
  running_sums s;
  s.images = count("images", large), s.hits = count("hits", large), s.loss = next();
  s.experts.layers.resize(static_cast<std::size_t>(count("layers", 4096)));
  for (layer_telemetry& l : s.experts.layers) {
    for (index* n : {&l.calls, &l.units, &l.choices, &l.placed, &l.overflow, &l.bad_rows})
      *n = count("units or choices", large);
    for (double* x : {&l.entropy, &l.margin, &l.load_cv, &l.max_over_mean}) *x = next();
    l.load.resize(static_cast<std::size_t>(count("experts", max_experts)));
    for (double& x : l.load) x = next();
  }
  require(at == v.size(), path, ": trainer.sums has ", v.size(), " numbers, ", at, " are used");
  return s;
}

}  // namespace polymoe
