// workspace<Module>: owns the five kinds of memory of one module and runs it.
//
// For programs that do not want to place memory themselves.  Everything is allocated once, in the constructor, from
// counts that a dry pass measured; forward and backward allocate nothing.
#pragma once

#include <memory>

#include "../backend/cpu/parallel.hpp"
#include "param.hpp"

namespace polymoe::inline v0 {

struct workspace_options {
  index max_rows = 0;      ///< rows of the largest input
  int threads = 1;
  std::uint64_t seed = 0;
};

/// Fills parameters with their first values: each tensor from its own stream, so no two are alike and none depends on
/// declaration order.
template <class M>
void initialise(const std::vector<param_entry>& entries, view<M> values, std::uint64_t seed) {
  for (const param_entry& e : entries) {
    const random_stream r = random_root{seed}.stream(stream_id(e.name), 0);
    for (index i = 0; i < e.size; ++i) {
      double x = 0;
      switch (e.init.how) {
        case init_rule::kind::zeros: break;
        case init_rule::kind::constant: x = e.init.scale; break;
        case init_rule::kind::normal: x = e.init.scale * r.normal(static_cast<std::uint64_t>(i)); break;
        case init_rule::kind::uniform: x = e.init.scale * (2.0 * r.uniform(static_cast<std::uint64_t>(i)) - 1.0); break;
      }
      values.set(0, e.offset + i, compute_t<M>(static_cast<real_t<M>>(x)));
    }
  }
}

template <class Module>
class workspace {
 public:
  using T = typename Module::scalar;
  using B = typename Module::backend;
  using M = master_t<T>;

  workspace(Module module, workspace_options o) : module_(std::move(module)), options_(o) {
    visitor<M> count;
    module_.visit(count);
    entries_ = count.params();
    state_entries_ = count.states();
    const index n = count.param_elements();
    for (aligned_block* b : {&value_block_, &grad_block_})
      *b = aligned_block(static_cast<std::size_t>(n) * sizeof(real_t<M>) * view<M>::planes);
    arena va = value_block_.as_arena(), ga = grad_block_.as_arena();
    values_ = va.template take<M>(1, n);
    grads_ = ga.template take<M>(1, n);
    state_.assign(static_cast<std::size_t>(count.state_elements()), 0.0f);
    for (const param_entry& e : state_entries_)
      for (index i = 0; i < e.size; ++i) state_[static_cast<std::size_t>(e.offset + i)] = static_cast<float>(e.init.scale);
    derived_ = aligned_block(count.derived_bytes());
    visitor<M> attach(values_, grads_, state_.data(), static_cast<std::byte*>(derived_.data()));
    module_.visit(attach);
    clear(values_), clear(grads_);
    initialise(entries_, values_, o.seed);

    binder<B> dry;
    dry.threads = o.threads;
    { auto measured = module_.bind(dry, o.max_rows); (void)measured; }
    saved_block_ = aligned_block(dry.saved.peak());
    scratch_block_ = aligned_block(dry.scratch.peak());
    worker_block_ = aligned_block(round_up(static_cast<index>(dry.worker_bytes), arena::alignment) * o.threads);
    binder<B> real;
    real.threads = o.threads;
    real.saved = saved_block_.as_arena();
    saved_ = std::make_unique<typename Module::saved>(module_.bind(real, o.max_rows));

    ctx_.stream.threads = o.threads;
    ctx_.stream.worker_scratch = static_cast<std::byte*>(worker_block_.data());
    ctx_.stream.worker_bytes = static_cast<std::size_t>(round_up(static_cast<index>(dry.worker_bytes), arena::alignment));
    ctx_.step = &step_;
    ctx_.random.seed = o.seed;
    refresh();
  }
  workspace(const workspace&) = delete;
  workspace& operator=(const workspace&) = delete;

  /// y = module(x).
  void forward(view<const T> x, view<T> y) { begin_call(), module_.forward(ctx_, x, y, *saved_); }
  /// dx = gradient of the input; parameter gradients are added to.
  void backward(view<const T> dy, view<T> dx) { begin_call(), module_.backward(ctx_, dy, dx, *saved_); }
  /// After parameters changed: recompute packed and bf16 copies.
  void refresh() { begin_call(), module_.refresh(ctx_); }
  void zero_grads() { clear(grads_); }

  Module& module() { return module_; }
  typename Module::saved& saved() { return *saved_; }
  context<B>& ctx() { return ctx_; }
  step_state& step() { return step_; }
  view<M> values() { return values_; }
  view<M> grads() { return grads_; }
  std::vector<float>& state() { return state_; }
  const std::vector<param_entry>& entries() const { return entries_; }
  const std::vector<param_entry>& state_entries() const { return state_entries_; }
  const workspace_options& options() const { return options_; }
  std::size_t saved_bytes() const { return saved_block_.size(); }
  std::size_t scratch_bytes() const { return scratch_block_.size(); }

 private:
  void begin_call() { ctx_.scratch = scratch_block_.as_arena(); }
  static void clear(view<M> v) {
    for (int p = 0; p < view<M>::planes; ++p) std::fill_n(v.ptr[p], v.cols, real_t<M>(0));
  }

  Module module_;
  workspace_options options_;
  std::vector<param_entry> entries_, state_entries_;
  aligned_block value_block_, grad_block_, derived_, saved_block_, scratch_block_, worker_block_;
  view<M> values_, grads_;
  std::vector<float> state_;
  std::unique_ptr<typename Module::saved> saved_;
  step_state step_;
  context<B> ctx_;
};

}  // namespace polymoe
