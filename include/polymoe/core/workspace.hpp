// workspace<Module>: owns the five kinds of memory of one module and runs it.
//
// For programs that do not want to place memory themselves.  Everything is allocated once, in the constructor, from
// counts that a dry pass measured; forward and backward allocate nothing.
#pragma once

#include <cstring>
#include <memory>
#include <span>

#include "../backend/cpu/parallel.hpp"
#include "first_values.hpp"

namespace polymoe::inline v0 {

/// What the memory and the workers of a module are made for.
struct workspace_options {
  index max_rows = 0;      ///< rows of the largest input
  int threads = 1;         ///< of the CPU backend
  std::uint64_t seed = 0;  ///< of first values and of all random streams
};

/// One module with the memory it needs for inputs of at most max_rows rows, its context and its step.
template <class Module>
class workspace {
 public:
  using T = typename Module::scalar;
  using B = typename Module::backend;
  using M = master_t<T>;
  using R = real_t<M>;
  using memory = typename B::memory;
  using block = owned_block<memory>;
  /// Writes first values to parameters in the backend's memory, in stream order (first_values_on_device).
  using initialiser = void (*)(const typename B::stream&, const std::vector<param_entry>&, view<M>,
                               std::uint64_t seed);

  /// Without `first`, first values are drawn on the host and copied where the backend's memory is elsewhere.
  workspace(Module module, workspace_options o, initialiser first = nullptr)
      : module_(std::move(module)), options_(o) {
    visitor<M> count;
    module_.visit(count);
    entries_ = count.params();
    state_entries_ = count.states();
    const index n = count.param_elements();
    for (block* b : {&value_block_, &grad_block_})
      *b = block(static_cast<std::size_t>(n) * sizeof(R) * view<M>::planes);
    arena va = value_block_.as_arena(), ga = grad_block_.as_arena();
    values_ = va.template take<M>(1, n);
    grads_ = ga.template take<M>(1, n);
    state_size_ = count.state_elements();
    state_block_ = block(static_cast<std::size_t>(state_size_) * sizeof(float));
    derived_ = block(count.derived_bytes());
    visitor<M> attach(values_, grads_, static_cast<float*>(state_block_.data()),
                      static_cast<std::byte*>(derived_.data()));
    module_.visit(attach);

    binder<B> dry;
    dry.threads = o.threads;
    { auto measured = module_.bind(dry, o.max_rows); (void)measured; }
    saved_block_ = block(dry.saved.peak());
    scratch_block_ = block(dry.scratch.peak());
    runtime_ = typename B::runtime(o.threads, dry.worker_bytes);
    ctx_.stream = runtime_.get();
    ctx_.random.seed = o.seed;
    if constexpr (memory::on_host) {
      ctx_.step = &step_;
    } else {
      step_block_ = block(sizeof(step_state));
      ctx_.step = static_cast<const step_state*>(step_block_.data());
    }
    first_values(first);
    binder<B> real;
    real.threads = o.threads;
    real.saved = saved_block_.as_arena();
    saved_ = std::make_unique<typename Module::saved>(module_.bind(real, o.max_rows));
    refresh();
  }
  workspace(const workspace&) = delete;
  workspace& operator=(const workspace&) = delete;

  /// y = module(x).  Rows may lie apart, but not overlap (stride 0, say): libraries of products refuse or misread that.
  void forward(view<const T> x, view<T> y) {
    check_rows("x", x), check_rows("y", y);
    begin_call(), module_.forward(ctx_, x, y, *saved_);
  }
  /// dx = gradient of the input; parameter gradients are added to.
  void backward(view<const T> dy, view<T> dx) {
    check_rows("dy", dy), check_rows("dx", dx);
    begin_call(), module_.backward(ctx_, dy, dx, *saved_);
  }
  /// After parameters changed: recompute packed and bf16 copies.
  void refresh() { begin_call(), module_.refresh(ctx_); }
  void zero_grads() { clear(grads_); }
  /// Brings changes of step() to the backend's memory.  Every call does so; a program that replays a captured graph
  /// calls it before each replay.
  void push_step() {
    if constexpr (!memory::on_host) {
      if (pushed_ && std::memcmp(&pushed_step_, &step_, sizeof(step_state)) == 0) return;
      memory::write(ctx_.stream, step_block_.data(), &step_, sizeof(step_state));
      step_pushed();
    }
  }

  /// Where the backend reads the step, for a caller that brings it there without waiting and then calls step_pushed().
  step_state* step_of_backend() {
    if constexpr (memory::on_host) return &step_;
    else return static_cast<step_state*>(step_block_.data());
  }
  /// What lies there is, in stream order, step().
  void step_pushed() {
    std::memcpy(&pushed_step_, &step_, sizeof(step_state));
    pushed_ = true;
  }

  Module& module() { return module_; }
  typename Module::saved& saved() { return *saved_; }
  context<B>& ctx() { return ctx_; }
  step_state& step() { return step_; }
  /// Parameters, gradients and state, in the backend's memory.
  view<M> values() { return values_; }
  view<M> grads() { return grads_; }
  std::span<float> state() { return {static_cast<float*>(state_block_.data()), static_cast<std::size_t>(state_size_)}; }
  /// Copies of plane `plane` of them on the host, and back.
  std::vector<R> values_on_host(int plane = 0) { return on_host(values_, plane); }
  std::vector<R> grads_on_host(int plane = 0) { return on_host(grads_, plane); }
  std::vector<float> state_on_host() {
    std::vector<float> v(state().size());
    memory::read(ctx_.stream, v.data(), state().data(), v.size() * sizeof(float));
    return v;
  }
  void set_values(const std::vector<R>& v, int plane = 0) {
    require(static_cast<index>(v.size()) == values_.cols, "workspace: ", v.size(), " values for ", values_.cols);
    memory::write(ctx_.stream, values_.ptr[plane], v.data(), v.size() * sizeof(R));
  }
  void set_state(const std::vector<float>& v) {
    require(v.size() == state().size(), "workspace: ", v.size(), " numbers of state for ", state().size());
    memory::write(ctx_.stream, state().data(), v.data(), v.size() * sizeof(float));
  }

  const std::vector<param_entry>& entries() const { return entries_; }
  const std::vector<param_entry>& state_entries() const { return state_entries_; }
  const workspace_options& options() const { return options_; }
  std::size_t saved_bytes() const { return saved_block_.size(); }
  std::size_t scratch_bytes() const { return scratch_block_.size(); }

 private:
  static void check_rows(const char* what, const view<const T>& v) {
    require(v.rows <= 1 || v.stride >= v.cols, "workspace: rows overlap: those of ", what, " are ", v.stride,
            " numbers apart and have ", v.cols, " columns");
  }
  void begin_call() {
    ctx_.scratch = scratch_block_.as_arena();
    push_step();
  }
  void clear(view<M> v) {
    for (int p = 0; p < view<M>::planes; ++p)
      memory::zero(ctx_.stream, v.ptr[p], static_cast<std::size_t>(v.cols) * sizeof(R));
  }
  std::vector<R> on_host(view<M> v, int plane) {
    std::vector<R> out(static_cast<std::size_t>(v.cols));
    memory::read(ctx_.stream, out.data(), v.ptr[plane], out.size() * sizeof(R));
    return out;
  }
  void first_values(initialiser first_on_backend) {
    clear(values_), clear(grads_);
    std::vector<float> first(state().size(), 0.0f);
    for (const param_entry& e : state_entries_)
      for (index i = 0; i < e.size; ++i)
        first[static_cast<std::size_t>(e.offset + i)] = static_cast<float>(e.init.scale);
    set_state(first);
    if (first_on_backend) return first_on_backend(ctx_.stream, entries_, values_, options_.seed);
    if constexpr (memory::on_host) {
      initialise(entries_, values_, options_.seed);
    } else {
      std::vector<R> staged(static_cast<std::size_t>(values_.cols), R(0));
      initialise(entries_, view<M>(staged.data(), 1, values_.cols), options_.seed);
      set_values(staged);
    }
  }

  Module module_;
  workspace_options options_;
  std::vector<param_entry> entries_, state_entries_;
  block value_block_, grad_block_, state_block_, derived_, saved_block_, scratch_block_, step_block_;
  view<M> values_, grads_;
  index state_size_ = 0;
  typename B::runtime runtime_;
  std::unique_ptr<typename Module::saved> saved_;
  step_state step_, pushed_step_;
  bool pushed_ = false;
  context<B> ctx_;
};

}  // namespace polymoe
