// Parameters, state and derived memory: how modules declare them and how a flat buffer is handed out.
//
// A module has `template <class M> void visit(visitor<M>& v)` that names every tensor it needs.  The same function runs
// twice: once to add up sizes, once to hand out views into the caller's buffers.  Names follow a PyTorch state_dict.
//   params   trained by gradients; one flat buffer of master_t<T>, one of gradients; `+=` in backward
//   state    trained by nothing (balance bias, running statistics); float; part of every checkpoint
//   derived  bytes computed from params once per optimiser step (bf16 or packed copies)
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "context.hpp"

namespace polymoe::inline v0 {

/// How a parameter gets its first value.
struct init_rule {
  enum class kind { zeros, constant, normal, uniform, orthogonal };
  kind how = kind::zeros;
  double scale = 0;  ///< constant: the value; normal: standard deviation; uniform: bound of (-scale, scale);
                     ///< orthogonal: length of the rows (of the columns, where they are fewer)

  static init_rule zeros() { return {}; }
  static init_rule constant(double x) { return {kind::constant, x}; }
  static init_rule normal(double std) { return {kind::normal, std}; }
  static init_rule uniform(double bound) { return {kind::uniform, bound}; }
  static init_rule orthogonal(double gain) { return {kind::orthogonal, gain}; }
  /// Xavier/Glorot uniform for a [fan_out, fan_in] weight.
  static init_rule xavier(index fan_in, index fan_out) {
    return uniform(std::sqrt(6.0 / static_cast<double>(fan_in + fan_out)));
  }
};

/// Whether weight decay applies; norms, biases, positions and routers say no.
enum class decay : bool { no, yes };

/// A bound parameter: its value and its gradient.  Stacked parameters ([E] equal tensors) are one view of E blocks.
template <class M>
struct param {
  view<const M> value;
  view<M> grad;
  index block_rows = 0;  ///< rows of one tensor of a stack

  view<const M> value_of_block(index e) const { return value.rows_at(e * block_rows, block_rows); }
  view<M> grad_of_block(index e) const { return grad.rows_at(e * block_rows, block_rows); }
};

/// One named tensor of a model.
struct param_entry {
  std::string name;
  std::vector<index> dims;
  index offset = 0;  ///< elements from the start of the flat buffer
  index size = 0;
  init_rule init;
  decay decays = decay::yes;
  std::string draws_as{};  ///< the tensor whose first values it has; empty: its own
};

template <class M>
class visitor {
 public:
  /// Counts only.
  visitor() = default;
  /// Hands out views; `values` and `grads` have `param_elements()` elements, `state` `state_elements()`, `derived`
  /// `derived_bytes()`, all as counted by a first pass.
  visitor(view<M> values, view<M> grads, float* state, std::byte* derived)
      : values_(values), grads_(grads), state_(state), derived_(derived), attached_(true) {}

  /// A tensor of `dims`; seen by the module as [product of all but the last, last].
  void add(param<M>& p, const std::string& name, std::vector<index> dims, init_rule init, decay d = decay::yes) {
    add_stack(p, 1, [&](index) { return name; }, std::move(dims), init, d);
  }
  /// `count` tensors of equal shape, adjacent in memory, named by `name(i)`.
  void add_stack(param<M>& p, index count, const std::function<std::string(index)>& name, std::vector<index> dims,
                 init_rule init, decay d = decay::yes) {
    require(!dims.empty(), path_, ": a parameter needs at least one dimension");
    const index cols = dims.back();
    index rows = 1;
    for (std::size_t i = 0; i + 1 < dims.size(); ++i) rows = checked_mul(rows, dims[i], "parameter");
    const index size = checked_mul(rows, cols, "parameter");
    param_elements_ = round_up(param_elements_, 16);
    const index start = param_elements_;
    for (index i = 0; i < count; ++i)
      params_.push_back(
          {path_ + name(i), dims, start + i * size, size, init, d, equal_stacks_ ? path_ + name(0) : std::string{}});
    param_elements_ += checked_mul(count, size, "parameters");
    if (attached_) {
      p.value = slice(view<const M>(values_), start, count * rows, cols);
      p.grad = slice(grads_, start, count * rows, cols);
    }
    p.block_rows = rows;
  }
  /// Whether all tensors of the stacks that follow start as the first one does; else each draws its own values.
  void equal_stacks(bool on) { equal_stacks_ = on; }
  /// `n` floats that no gradient trains, first set to `first`.
  void add_state(float*& p, const std::string& name, index n, float first) {
    states_.push_back({path_ + name, {n}, state_elements_, n, init_rule::constant(first), decay::no});
    if (attached_) p = state_ + state_elements_;
    state_elements_ += round_up(n, 16);
  }
  /// Bytes computed from the parameters by `refresh`.
  void add_derived(std::byte*& p, std::size_t bytes) {
    if (attached_) p = derived_ + derived_bytes_;
    derived_bytes_ += (bytes + arena::alignment - 1) / arena::alignment * arena::alignment;
  }
  /// The id of a random stream of this module.
  void add_stream(std::uint64_t& id, const std::string& name) { id = stream_id(path_ + name); }

  /// Visits a child module; its names get the prefix "name.".
  template <class Child>
  void child(const std::string& name, Child& c) {
    const std::string before = path_;
    path_ += name + ".";
    c.visit(*this);
    path_ = before;
  }

  const std::string& path() const { return path_; }
  const std::vector<param_entry>& params() const { return params_; }
  const std::vector<param_entry>& states() const { return states_; }
  index param_elements() const { return round_up(param_elements_, 16); }
  index state_elements() const { return state_elements_; }
  std::size_t derived_bytes() const { return derived_bytes_; }
  /// Number of trained scalars, without padding.
  index param_count() const {
    index n = 0;
    for (const auto& e : params_) n += e.size;
    return n;
  }

 private:
  template <class V>
  static V slice(V flat, index start, index rows, index cols) {
    for (int i = 0; i < V::planes; ++i) flat.ptr[i] = flat.ptr[i] ? flat.ptr[i] + start : nullptr;
    flat.rows = rows, flat.cols = cols, flat.stride = cols;
    return flat;
  }

  view<M> values_, grads_;
  float* state_ = nullptr;
  std::byte* derived_ = nullptr;
  bool attached_ = false, equal_stacks_ = false;
  std::string path_;
  std::vector<param_entry> params_, states_;
  index param_elements_ = 0, state_elements_ = 0;
  std::size_t derived_bytes_ = 0;
};

}  // namespace polymoe
