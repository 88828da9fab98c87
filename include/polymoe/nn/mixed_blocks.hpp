// Blocks of two kinds one after another: where the Mixture-of-Experts blocks of a network sit.
#pragma once

#include <vector>

#include "../backend/cpu/pointwise.hpp"
#include "module.hpp"
#include "placement.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// y = f_{count-1}(... f_0(x)), f_i a Special block where `special_at` says so and a Plain one elsewhere, named
/// "first", "first + 1", ...  Both kinds keep rows and width.
template <class Plain, class Special>
class mixed_blocks {
 public:
  using scalar = typename Plain::scalar;
  using backend = typename Plain::backend;
  using T = scalar;
  using B = backend;
  using M = master_t<T>;
  static_assert(std::is_same_v<T, typename Special::scalar> && std::is_same_v<B, typename Special::backend>,
                "polymoe: both kinds of blocks need the same number type and the same backend");
  struct config {
    typename Plain::config plain;
    typename Special::config special;
    index count = 1;
    placement special_at{};
    index first = 0;  ///< number in the name of the first block
  };
  struct saved {
    std::vector<typename Plain::saved> plain;
    std::vector<typename Special::saved> special;
    std::vector<view<T>> between;  ///< [i]: output of block i, except the last
  };

  mixed_blocks() = default;
  explicit mixed_blocks(config c) : where_(c.special_at), count_(c.count), first_(c.first) {
    require(c.count > 0 && c.count <= 64 && where_.reach() <= c.count, "mixed_blocks: ", c.count,
            " blocks, the last special one is block ", where_.reach() - 1);
    for (index i = 0; i < count_; ++i)
      if (where_[i]) special_.emplace_back(c.special);
      else plain_.emplace_back(c.plain);
    width_ = plain_.empty() ? special_.front().in_cols() : plain_.front().in_cols();
    walk([&](index i, const auto& m) {
      require(m.in_cols() == width_ && m.out_cols() == width_, "mixed_blocks: block ", i, " maps width ", m.in_cols(),
              " to ", m.out_cols(), ", all have to keep width ", width_);
    });
  }

  index in_cols() const { return width_; }
  index out_cols() const { return width_; }
  index depth() const { return count_; }
  std::vector<Plain>& plain() { return plain_; }
  std::vector<Special>& special() { return special_; }

  void visit(visitor<M>& v) {
    walk([&](index i, auto& m) { v.child(std::to_string(first_ + i), m); });
  }
  saved bind(binder<B>& b, index max_rows) const {
    saved s;
    for (index i = 0; i + 1 < count_; ++i) s.between.push_back(b.saved.template take<T>(max_rows, width_));
    arena_scope all(b.scratch);
    for (index i = 0; i + 1 < std::min<index>(count_, 3); ++i) b.scratch.template take<T>(max_rows, width_);
    for (index i = 0, plain = 0, special = 0; i < count_; ++i)
      if (where_[i]) s.special.push_back(special_[static_cast<std::size_t>(special++)].bind(b, max_rows));
      else s.plain.push_back(plain_[static_cast<std::size_t>(plain++)].bind(b, max_rows));
    return s;
  }
  void refresh(context<B>& c) {
    walk([&](index, auto& m) { m.refresh(c); });
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("mixed_blocks", *this, x, y);
    walk_over(
        *this,
        [&](index i, const auto& m, auto& kept) {
          const view<T> out = i + 1 < count_ ? s.between[static_cast<std::size_t>(i)].rows_at(0, x.rows) : y;
          m.forward(c, x, out, kept);
          x = out;
        },
        s);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    arena_scope all(c.scratch);
    view<T> buffer[2];
    for (index i = 0; i + 1 < std::min<index>(count_, 3); ++i) buffer[i] = c.scratch.template take<T>(dy.rows, width_);
    index plain = static_cast<index>(plain_.size()), special = static_cast<index>(special_.size());
    for (index i = count_; i-- > 0;) {
      const view<T> to = i > 0 ? buffer[count_ > 2 ? i % 2 : 0] : dx;
      if (where_[i]) --special, back(special_, s.special, special, c, dy, to);
      else --plain, back(plain_, s.plain, plain, c, dy, to);
      dy = to;
    }
  }
  template <class F>
  void each(F&& f, saved& s) {
    walk_over(*this, [&](index, auto& m, auto& kept) { each_module(m, kept, f); }, s);
  }
  static constexpr cost count(const config& c, index rows) {
    // A kind that no block is of may have no sizes.
    const index special = c.special_at.count(), plain = c.count - special;
    return (special ? Special::count(c.special, rows).times(special) : cost{}) +
           (plain ? Plain::count(c.plain, rows).times(plain) : cost{});
  }

 private:
  template <class Block, class Kept>
  static void back(const std::vector<Block>& blocks, std::vector<Kept>& kept, index i, context<B>& c, view<const T> dy,
                   view<T> dx) {
    blocks[static_cast<std::size_t>(i)].backward(c, dy, dx, kept[static_cast<std::size_t>(i)]);
  }
  /// f(i, block) in order, or with `kept` f(i, block, what it saved).
  template <class Self, class F, class... Saved>
  static void walk_over(Self& self, F f, Saved&... kept) {
    std::size_t plain = 0, special = 0;
    for (index i = 0; i < self.count_; ++i)
      if (self.where_[i]) f(i, self.special_[special], kept.special[special]...), ++special;
      else f(i, self.plain_[plain], kept.plain[plain]...), ++plain;
  }
  template <class F>
  void walk(F f) {
    walk_over(*this, f);
  }
  template <class F>
  void walk(F f) const {
    walk_over(*this, f);
  }

  placement where_;
  index count_ = 0, first_ = 0, width_ = 0;
  std::vector<Plain> plain_;
  std::vector<Special> special_;
};

}  // namespace nn
}  // namespace polymoe
