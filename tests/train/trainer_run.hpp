// A training of tiny_vit's network, for the tests of the trainer: its steps, what it is
// made of, and two that are equal.
#pragma once

#include <doctest/doctest.h>

#include "temp_folder.hpp"
#include "tiny_vit.hpp"

namespace polymoe::inline v0 {
namespace tiny_run {

using model = tiny::moe_vit<float>;
using run = trainer<model>;

/// The parameters, state and step as bytes, without a file.
inline std::vector<float> numbers(run& t) {
  const auto v = t.work().values();
  std::vector<float> all(v.ptr[0], v.ptr[0] + v.cols);
  all.insert(all.end(), t.work().state().begin(), t.work().state().end());
  all.push_back(static_cast<float>(t.step_count()));
  return all;
}
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}
inline void steps(run& t, index n) {
  for (index i = 0; i < n; ++i) t.step();
}
inline void check_equal(const train_summary& a, const train_summary& b) {
  CHECK(a.images == b.images);
  CHECK(a.loss == b.loss);
  CHECK(a.accuracy == b.accuracy);
  CHECK(a.confusion == b.confusion);
  CHECK(a.class_expert == b.class_expert);
  REQUIRE(a.experts.layers.size() == b.experts.layers.size());
  CHECK(a.experts.drop_rate() == b.experts.drop_rate());
  CHECK(a.experts.entropy() == b.experts.entropy());
  CHECK(a.experts.margin() == b.experts.margin());
  CHECK(a.experts.load_cv() == b.experts.load_cv());
  CHECK(a.experts.max_over_mean() == b.experts.max_over_mean());
  for (std::size_t l = 0; l < a.experts.layers.size(); ++l) {
    CHECK(a.experts.layers[l].load == b.experts.layers[l].load);
    CHECK(a.experts.layers[l].units == b.experts.layers[l].units);
    CHECK(a.experts.layers[l].placed == b.experts.layers[l].placed);
  }
}

}  // namespace tiny_run
}  // namespace polymoe
