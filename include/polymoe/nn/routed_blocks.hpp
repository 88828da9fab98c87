// Transformer blocks whose experts share one router and one plan (Mobile V-MoE, paper D: "a single per-image router").
//
//   plan = routing(unit of x)          once, from what enters the first block
//   x <- x + attention(norm1(x))
//   x <- x + experts(norm2(x), plan)   in every block: the same units go to the experts of the same number
//
// The router's gradient is the sum over all blocks.  Balance losses and statistics exist once.
#pragma once

#include "../layer/layer.hpp"
#include "attention.hpp"
#include "layer_norm.hpp"
#include "residual.hpp"
#include "sequential.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [images * tokens, D] -> y of the same shape.  Parameters: router.weight; of block i: i.norm1, i.attn, i.norm2,
/// i.moe.experts.
template <class Spec, class B = cpu>
class routed_blocks {
 public:
  using scalar = typename Spec::scalar;
  using backend = B;
  using T = scalar;
  using C = compute_t<T>;
  using M = master_t<T>;
  using Unit = typename Spec::unit;
  static_assert(support<Spec, B>() == verdict::ok,
                "polymoe: layer<Spec, Backend> says why this composition is refused");
  static_assert(!Spec::expert::head_of_classes,
                "polymoe: experts of routed_blocks keep the width of their rows; a head has classes");
  using routing_type = routing<Spec, B>;
  using apply_type = apply<Spec, B>;
  using attention_half = residual<sequential<named<"norm1", layer_norm<T, B>>, named<"attn", attention<T, B>>>>;

  struct config {
    typename attention<T, B>::config attention;
    layer_config<Spec> moe;  ///< dim and unit_rows as in a layer: units are images (all their tokens), or tokens
    index count = 1;
    index first = 0;  ///< number in the name of the first block
    double eps = 1e-6;
  };
  struct block_saved {
    typename attention_half::saved attending;
    typename layer_norm<T, B>::saved norm;
    typename apply_type::saved apply;
    view<T> attended, normed, out;  ///< [rows, D]; the last block writes its output elsewhere
  };
  struct saved {
    typename routing_type::saved routing;
    view<T> pooled, d_pooled;  ///< [units, D] where units are blocks
    std::vector<block_saved> blocks;
  };

  routed_blocks() = default;
  explicit routed_blocks(config c) : config_(checked(c)), routing_(c.moe.routing_settings()) {
    for (index i = 0; i < c.count; ++i) blocks_.emplace_back(c, routing_);
  }

  index in_cols() const { return config_.moe.dim; }
  index out_cols() const { return config_.moe.dim; }
  index depth() const { return config_.count; }
  routing_type& router() { return routing_; }
  const routing_type& router() const { return routing_; }

  void visit(visitor<M>& v) {
    v.child("router", routing_);
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      v.child(std::to_string(config_.first + static_cast<index>(i)), blocks_[i]);
  }
  saved bind(binder<B>& b, index max_rows) const {
    const index units = ceil_div(max_rows, config_.moe.unit_rows), D = in_cols();
    saved s;
    s.routing = routing_.bind(b, units);
    if constexpr (Unit::block) {
      s.pooled = b.saved.template take<T>(units, D);
      s.d_pooled = b.saved.template take<T>(units, D);
    }
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      block_saved k;
      k.attended = b.saved.template take<T>(max_rows, D), k.normed = b.saved.template take<T>(max_rows, D);
      if (i + 1 < blocks_.size()) k.out = b.saved.template take<T>(max_rows, D);
      s.blocks.push_back(k);
    }
    arena_scope all(b.scratch);
    for (int i = 0; i < 3; ++i) b.scratch.template take<T>(max_rows, D);
    const index group = config_.moe.group_size ? config_.moe.group_size : std::max<index>(units, 1);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      s.blocks[i].attending = blocks_[i].attending_.bind(b, max_rows);
      s.blocks[i].norm = blocks_[i].norm_.bind(b, max_rows);
      s.blocks[i].apply =
          blocks_[i].apply_.bind(b, routing_.max_slots(units), units, ceil_div(std::max<index>(units, 1), group));
    }
    return s;
  }
  void refresh(context<B>& c) {
    routing_.refresh(c);
    for (block& m : blocks_) m.attending_.refresh(c), m.norm_.refresh(c), m.apply_.refresh(c);
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("routed_blocks", *this, x, y);
    const index r = config_.moe.unit_rows;
    require(x.rows % r == 0, "routed_blocks: ", x.rows, " rows are no whole number of units of ", r);
    if constexpr (Unit::block) {
      const view<T> pooled = s.pooled.rows_at(0, x.rows / r);
      pool_units<Unit>(c, x, r, pooled);
      routing_.forward(c, pooled, s.routing);
    } else {
      routing_.forward(c, x, s.routing);
    }
    arena_scope all(c.scratch);
    const view<T> experts = c.scratch.template take<T>(x.rows, in_cols());
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      block_saved& k = s.blocks[i];
      const view<T> attended = k.attended.rows_at(0, x.rows), normed = k.normed.rows_at(0, x.rows);
      const view<T> out = i + 1 < blocks_.size() ? k.out.rows_at(0, x.rows) : y;
      blocks_[i].attending_.forward(c, x, attended, k.attending);
      blocks_[i].norm_.forward(c, attended, normed, k.norm);
      blocks_[i].apply_.forward(c, normed, s.routing.plan, experts, k.apply);
      add(c, view<const T>(attended), view<const T>(experts), out);
      x = out;
    }
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    routing_.open_backward(c, s.routing);
    arena_scope all(c.scratch);
    const index rows = dy.rows, r = config_.moe.unit_rows;
    view<T> through = c.scratch.template take<T>(rows, in_cols()), inner = c.scratch.template take<T>(rows, in_cols());
    const view<T> entry = c.scratch.template take<T>(rows, in_cols());
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      block_saved& k = s.blocks[i];
      blocks_[i].apply_.backward(c, dy, s.routing.plan, s.routing.d_plan(), inner, k.apply);
      nn::backward_add<layer_norm<T, B>, T, B>(blocks_[i].norm_, c, inner, dy, through, k.norm);
      // The router's gradient comes on top of what enters the first block, so that one is wanted whenever dx is.
      const view<T> to = i > 0 ? entry : dx;
      blocks_[i].attending_.backward(c, through, to, k.attending);
      dy = to;
    }
    if constexpr (Unit::block) {
      const view<T> d = s.d_pooled.rows_at(0, rows / r);
      routing_.backward(c, dx.ptr[0] ? d : view<T>{}, s.routing);
      if (dx.ptr[0]) spread_units<Unit, T>(c, d, r, dx);
    } else {
      routing_.backward(c, dx, s.routing, true);
    }
  }
  /// Once per optimiser step.
  void commit(context<B>& c) { routing_.commit(c); }

  // As of a layer: the trainer counts the shared router once.
  C balance_loss(context<B>& c, const saved& s) const {
    const view<C> values = routing_.balance_values(c, s.routing);
    return values.get(0, values.cols - 1);
  }
  routing_stats stats(context<B>& c, const saved& s) const { return routing_.stats(c, s.routing); }
  auto plan(context<B>& c, const saved& s) const { return routing_.plan(c, s.routing); }

  static constexpr cost count(const config& c, index rows) {
    const index units = rows / c.moe.unit_rows;
    const routing_config<Spec> r = c.moe.routing_settings();
    const cost route = routing_type::count(r, units), one = apply_type::count_one(c.moe.expert_settings());
    const cost around =
        layer_norm<T, B>::count({c.moe.dim, c.eps}, rows).times(2) + nn::attention<T, B>::count(c.attention, rows);
    const cost experts = polymoe::detail::cost_of_experts<routing_type>(r, units, c.moe.unit_rows, one);
    return route + (around + experts + cost::dense(0, 0, rows * c.moe.dim)).times(c.count);
  }

 private:
  struct block {
    block(const config& c, const routing_type& router)
        : attending_({{typename layer_norm<T, B>::config{c.moe.dim, c.eps}, c.attention}}),
          norm_({c.moe.dim, c.eps}),
          apply_(c.moe.apply_settings(router)) {}
    void visit(visitor<M>& v) {
      attending_.visit(v);
      v.child("norm2", norm_), v.child("moe", apply_);
    }
    attention_half attending_;
    layer_norm<T, B> norm_;
    apply_type apply_;
  };

  static const config& checked(const config& c) {
    require(c.count >= 1, "routed_blocks: count is ", c.count, ", it must be at least 1");
    require(c.attention.dim == c.moe.dim && c.moe.dim >= 1, "routed_blocks: attention has width ", c.attention.dim,
            ", the experts ", c.moe.dim);
    require(Unit::block ? c.moe.unit_rows >= 1 : c.moe.unit_rows == 1, "routed_blocks: unit_rows is ", c.moe.unit_rows,
            Unit::block ? ", it must be at least 1" : ", a token unit has 1 row");
    return c;
  }

  config config_;
  routing_type routing_;
  std::vector<block> blocks_;
};

}  // namespace nn
}  // namespace polymoe
