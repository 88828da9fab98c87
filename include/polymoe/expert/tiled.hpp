// The frame of experts that are made of linear maps and elementwise functions between them: an expert writes its maths
// for one tile of rows, the frame does the rest (parameters, memory, loops, weight gradients, counting).
//
// The maths of an expert is a struct without members:
//
//   static constexpr const char* name            for messages
//   static constexpr bool bias                   whether its linear maps add one
//   static constexpr bool spare                  whether `backward` uses the spare tensor
//   static constexpr int kept                    tensors [rows, H] that forward makes and backward uses
//   using save                                   the save policy (save.hpp)
//   static constexpr bool stays(int i)           whether tensor i is kept in memory between them
//   static constexpr float_products products     how float products may be computed
//   static constexpr int maps                    linear maps
//   static constexpr linear_map map(int i, const expert_config&)
//                                                name, widths, and where the operands of its weight gradient lie when
//                                                `backward` has run (a kept tensor, or the ends of the expert)
//   template <class Tile> static void forward(const Tile&)
//   template <class Tile> static void recompute(const Tile&)    makes the tensors that did not stay, before backward
//   template <class Tile> static void backward(const Tile&)
//
// and a tile offers x(), y(), dy(), dx(), kept(i), spare() (one [rows, H] tensor, backward only), map i as
// apply(i, in, out) and data_gradient(i, d_out, d_in, accumulate), and what a backend may fuse with them:
//
//   apply_activated(i, in, pre, out, act)             kept(pre) = map i of in, kept(out) = act(kept(pre))
//   data_gradient_activated(i, d_out, pre, out, act)  kept(pre) = gradient of map i's input times act'(kept(pre))
//   activate(pre, out, act)                           kept(out) = act(kept(pre))
//   activate_backward(d, pre, out, act)               kept(pre) = d act'(kept(pre))
//   activate_gated(a, b, h, act)                      h = act(a) b
//   activate_gated_backward(d, a, b, act)             with d the gradient of h: a = d b act'(a), b = d act(a)
//   drop(v)                                           v = v times the dropout mask of its rows, in training: hidden
//                                                     rows in forward, their gradient in backward (or what it was
//                                                     multiplied with since, element by element)
//
// and where the output is not kept (save.hpp), with d the gradient of map i's input from an ungated dy:
//
//   fold_gates(i, d, in)     d_gate += <d, kept(in)> + <dy, bias of map i> for each slot, then d and dy times its gate
//   data_gradient_folded(i, d_out, pre, act)   optional: data_gradient of map i, fold_gates with act(kept(pre)) and
//                                              activate_backward in one product; false: not this call, nothing was done
//
// Those with an activation name tensors by number: where `out` says all that the derivative needs, a backend may leave
// `pre` unwritten in forward (ReLU), and it may write the gradient elsewhere and let kept(pre) be that.
//
// In forward the inputs of a tile are written by nobody; in backward a kept tensor may be overwritten, which is how
// gradients reach the weight gradients.  A tile on the CPU is 256 rows, on CUDA it is all rows, one launch per step.  A
// kept tensor that does not stay lies in scratch: of the tile in forward, of the whole call in backward.
#pragma once

#include "../core/context.hpp"
#include "../core/cost.hpp"
#include "../plan/sparse_plan.hpp"
#include "../core/float_products.hpp"
#include "expert_map.hpp"
#include "product_path.hpp"
#include "save.hpp"

namespace polymoe::inline v0 {

/// Sizes every expert module gets.
struct expert_config {
  index experts = 0;  ///< with the fallback expert, if any
  index in = 0;       ///< D
  index hidden = 0;   ///< H
  index out = 0;      ///< D, or the number of classes
  bool even = false;          ///< every expert owns as many rows as any other, empty ones included
  bool shared_input = false;  ///< mixtures: all experts read the same rows
  product_path products = product_path::automatic;
  index unit_rows = 1;   ///< rows of a unit; for feature maps their pixels
  index map_height = 0;  ///< rows of pixels of a feature map; 0: as many as columns
  double dropout = 0;    ///< of the hidden rows in training, for experts with drops_hidden
};

/// What backward gets for experts whose outputs are not kept.
template <class T>
struct expert_gates {
  using C = compute_t<T>;
  sparse_plan<C> plan;   ///< its gates weigh the outputs
  view<T> d_out;         ///< dy of backward, in slot order, not yet multiplied by gates; it is afterwards
  view<C> d_gate;        ///< [1, S], added to
  index unit_rows = 1;
};

/// One linear map of an expert: out = W in, W is [out, in] and has a name per expert.
struct linear_map {
  /// Where an operand of the weight gradient dW = d_out^T in lies: at an end of the expert, or in a kept tensor (>= 0).
  static constexpr int end = -1;

  const char* name = nullptr;
  index in = 0, out = 0;
  int input = end;     ///< kept tensor that holds the map's input; `end`: x
  int gradient = end;  ///< kept tensor that holds the gradient of its output; `end`: dy
};

namespace detail {

/// A backend's frame around `Body`; a specialisation per backend runs the tiles.
template <class Body, class T, class Backend>
class tiled_expert;

/// What the frames of all backends share: sizes and counting.
template <class Body>
class tiled_expert_base {
 public:
  tiled_expert_base() = default;
  explicit tiled_expert_base(expert_config c) : config_(checked(c)) {}

  /// False: whoever owns the input makes it again before backward, saved::x tells where it is then.
  static constexpr bool keeps_input = Body::save::keeps_input;
  /// False: backward gets ungated gradients and finds the gates' (expert_gates).
  static constexpr bool keeps_output = detail::keeps_output<typename Body::save>;
  static constexpr bool drops_hidden = true;
  /// Tensors [rows, H] that do not stay.
  static constexpr int remade = [] {
    int n = 0;
    for (int i = 0; i < Body::kept; ++i) n += !Body::stays(i);
    return n;
  }();

  static constexpr cost count_one(const expert_config& c) {
    cost one;
    for (int i = 0; i < Body::maps; ++i) {
      const linear_map m = Body::map(i, c);
      one.macs += m.in * m.out;
      one.params += m.in * m.out + (Body::bias ? m.out : 0);
    }
    return cost::dense(one.params, one.macs, Body::kept * c.hidden + c.out);
  }

 protected:
  expert_config config_;
  std::uint64_t dropout_stream_ = 0;

 private:
  static const expert_config& checked(const expert_config& c) {
    require(c.hidden >= 1, "expert ", Body::name, ": hidden is ", c.hidden, ", it must be at least 1");
    require(c.dropout >= 0 && c.dropout < 1, "expert ", Body::name, ": dropout is ", c.dropout,
            ", it must be in [0, 1)");
    return c;
  }
};

}  // namespace detail
}  // namespace polymoe

#include "../backend/cpu/tiled_expert.hpp"
