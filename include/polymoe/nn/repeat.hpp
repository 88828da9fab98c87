// Equal blocks one after another, their number chosen at run time.
#pragma once

#include <vector>

#include "../backend/cpu/pointwise.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// y = f_{n-1}(... f_0(x)), every f_i a Block with its own parameters, named "first", "first + 1", ...  A block keeps
/// rows and width.  One instantiation serves any depth.
template <class Block>
class repeat {
 public:
  using scalar = typename Block::scalar;
  using backend = typename Block::backend;
  using T = scalar;
  using B = backend;
  using M = master_t<T>;
  struct config {
    typename Block::config block;
    index count = 1;
    index first = 0;  ///< number in the name of the first block: two repeats may share one series of names
  };
  struct saved {
    std::vector<typename Block::saved> blocks;
    std::vector<view<T>> between;  ///< [i]: output of block i, except the last
  };

  repeat() = default;
  explicit repeat(config c) : first_(c.first) {
    require(c.count > 0, "repeat: count = ", c.count, " must be positive");
    for (index i = 0; i < c.count; ++i) blocks_.emplace_back(c.block);
    check();
  }
  /// Blocks that differ in their configuration.
  explicit repeat(std::vector<Block> blocks, index first = 0) : first_(first), blocks_(std::move(blocks)) {
    require(!blocks_.empty(), "repeat: at least one block is needed");
    check();
  }

  index in_cols() const { return blocks_.front().in_cols(); }
  index out_cols() const { return blocks_.back().out_cols(); }
  index depth() const { return static_cast<index>(blocks_.size()); }
  Block& block(index i) { return blocks_[static_cast<std::size_t>(i)]; }

  void visit(visitor<M>& v) {
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      v.child(std::to_string(first_ + static_cast<index>(i)), blocks_[i]);
  }
  saved bind(binder<B>& b, index max_rows) const {
    saved s;
    for (std::size_t i = 0; i + 1 < blocks_.size(); ++i)
      s.between.push_back(b.saved.template take<T>(max_rows, in_cols()));
    arena_scope all(b.scratch);
    for (std::size_t i = 0; i + 1 < std::min<std::size_t>(blocks_.size(), 3); ++i)
      b.scratch.template take<T>(max_rows, in_cols());
    for (const Block& m : blocks_) s.blocks.push_back(m.bind(b, max_rows));
    return s;
  }
  void refresh(context<B>& c) {
    for (Block& m : blocks_) m.refresh(c);
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("repeat", *this, x, y);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const view<T> out = i + 1 < blocks_.size() ? s.between[i].rows_at(0, x.rows) : y;
      blocks_[i].forward(c, x, out, s.blocks[i]);
      x = out;
    }
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    arena_scope all(c.scratch);
    view<T> buffer[2];
    for (std::size_t i = 0; i + 1 < std::min<std::size_t>(blocks_.size(), 3); ++i)
      buffer[i] = c.scratch.template take<T>(dy.rows, in_cols());
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      const view<T> to = i > 0 ? buffer[blocks_.size() > 2 ? i % 2 : 0] : dx;
      blocks_[i].backward(c, dy, to, s.blocks[i]);
      dy = to;
    }
  }
  template <class F>
  void each(F&& f, saved& s) {
    for (std::size_t i = 0; i < blocks_.size(); ++i) each_module(blocks_[i], s.blocks[i], f);
  }
  static constexpr cost count(const config& c, index rows) { return Block::count(c.block, rows).times(c.count); }

 private:
  void check() const {
    for (const Block& m : blocks_)
      require(m.in_cols() == in_cols() && m.out_cols() == in_cols(), "repeat: a block maps width ", m.in_cols(), " to ",
              m.out_cols(), ", all have to keep width ", in_cols());
  }
  index first_ = 0;
  std::vector<Block> blocks_;
};

}  // namespace nn
}  // namespace polymoe
