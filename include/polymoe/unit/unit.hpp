// Unit policies: what is routed, and what its router sees.
//
//   unit::token              each row of the input; the router sees the row
//   unit::image<mean>        a block of `unit_rows` rows moves as a whole; the router sees the mean of its rows
//   unit::image<class_token> the same; the router sees the first row
//   unit::feature_map        unit::image<mean> by its other name: a map whose rows are pixels moves as a whole, and the
//                            router sees the mean of each channel
//
// A feature vector (one row per image, what a CNN gives after its last pooling) is unit::token: a unit of one row.
//
// A unit policy has `block` (false: one row a unit) and, for blocks, input(x, u, rows, c) -> one number of the router's
// input, and share(row, rows): what part of d_input flows to a row.
#pragma once

#include "../core/view.hpp"

namespace polymoe::inline v0::unit {

struct token {
  static constexpr const char* name = "token";
  static constexpr bool block = false;
};

struct mean {
  static constexpr const char* name = "mean";
  POLYMOE_HD static constexpr double share(index, index rows) { return 1.0 / static_cast<double>(rows); }
};
struct class_token {
  static constexpr const char* name = "class_token";
  POLYMOE_HD static constexpr double share(index row, index) { return row == 0 ? 1.0 : 0.0; }
};

template <class Pooling = mean>
struct image {
  static constexpr const char* name = "image";
  static constexpr bool block = true;
  /// Weight of a row of the block in the router's input; the same weight carries the gradient back.
  POLYMOE_HD static constexpr double share(index row, index rows) { return Pooling::share(row, rows); }
};

/// A map of height * width = `unit_rows` pixels; the router sees the mean over its pixels, channel by channel.
using feature_map = image<mean>;

}  // namespace polymoe::unit
