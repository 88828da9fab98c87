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
// A unit policy has `block` (false: one row a unit) and, for blocks, share(row, rows): the weight of a row in the
// router's input, which is sum_row share(row, rows) x[row, :]; the same part of its gradient flows to the row.
#pragma once

#include "../core/view.hpp"

namespace polymoe::inline v0::unit {

/// Each row by itself; the router sees the row.
struct token {
  static constexpr const char* name = "token";
  static constexpr bool block = false;
};

/// Pooling of image: every row weighs 1 / rows.
struct mean {
  static constexpr const char* name = "mean";
  POLYMOE_HD static constexpr double share(index, index rows) { return 1.0 / static_cast<double>(rows); }
};
/// Pooling of image: the first row alone.
struct class_token {
  static constexpr const char* name = "class_token";
  POLYMOE_HD static constexpr double share(index row, index) { return row == 0 ? 1.0 : 0.0; }
};

/// A block of `unit_rows` rows; Pooling says what the router sees of it.
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
