// fixed<Score>: units go where a table says: an oracle, super-classes of labelled images   (paper D, upper bound).
// hashed<Score>: where a hash of their position says: routing that learns nothing   (Roller et al. 2021).
//
// One expert a unit.  The gate is Score's at that expert; by default 1, and the router's weights then get no gradient.
// These routers choose with select(scores, unit), which a router of your own may have instead of select(scores).
#pragma once

#include "../core/error.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

namespace score {
/// Every score is 1, whatever the logits: for routers that do not choose by score.
struct one {
  static constexpr const char* name = "one";
  template <class Row>
  POLYMOE_HD Row forward(const Row& z) const {
    return z.filled(typename Row::scalar(1));
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& dp) const {
    return dp.filled(typename Row::scalar(0));
  }
};
}  // namespace score

template <class Score = score::one>
struct fixed : detail::scored<1, Score> {
  static constexpr const char* name = "fixed";
  /// Ids in the backend's memory, one for `units_per_id` units in a row; taken modulo E.  Set them before each forward:
  /// layer.router().settings().router.ids.  Without a table every unit goes to expert 0.
  const int* ids = nullptr;
  index units_per_id = 1;

  void validate() const {
    require(units_per_id >= 1, "fixed: units_per_id is ", units_per_id, ", it must be at least 1");
    if constexpr (requires(const Score s) { s.validate(); }) Score::validate();
  }
  template <class Row>
  POLYMOE_HD choice<1> select(const Row& scores, index unit) const {
    const int id = ids ? ids[unit / units_per_id] % scores.n : 0;
    choice<1> c;
    c.expert[0] = id < 0 ? id + scores.n : id;
    return c;
  }
};

template <class Score = score::one>
struct hashed : detail::scored<1, Score> {
  static constexpr const char* name = "hashed";
  index period = 1;  ///< positions: tokens of an image
  std::uint64_t seed = 0;

  void validate() const {
    require(period >= 1, "hashed: period is ", period, ", it must be at least 1");
    if constexpr (requires(const Score s) { s.validate(); }) Score::validate();
  }
  template <class Row>
  POLYMOE_HD choice<1> select(const Row& scores, index unit) const {
    std::uint64_t z =
        (static_cast<std::uint64_t>(unit % period) + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1342543de82ef95ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    choice<1> c;
    c.expert[0] = static_cast<int>((z ^ (z >> 31)) % static_cast<std::uint64_t>(scores.n));
    return c;
  }
};

}  // namespace polymoe
