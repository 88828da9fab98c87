// What the instruments of a model's loss share: the examples it is taken over, its memory, and putting things back.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "../core/workspace.hpp"
#include "../nn/cross_entropy.hpp"

namespace polymoe::inline v0::analysis {

/// Examples that belong together in one call; the memory is the caller's.
template <class R>
struct labelled_rows {
  view<const R> x;                       ///< [rows, inputs]
  std::span<const std::int32_t> labels;  ///< one per row of the model's output
};

namespace detail {
/// Runs f when it goes, by return or by a throw.
template <class F>
class on_exit {
 public:
  explicit on_exit(F f) : f_(std::move(f)) {}
  on_exit(const on_exit&) = delete;
  on_exit& operator=(const on_exit&) = delete;
  ~on_exit() { f_(); }

 private:
  F f_;
};

struct batch_sizes {
  index rows = 0;                         ///< labelled rows of all batches
  index most_rows = 0, most_labels = 0;  ///< of the largest batch
};
/// Throws unless the model takes the batches; `what` begins the errors.
template <class Model, class Batch>
batch_sizes check_batches(const char* what, workspace<Model>& w, const std::vector<Batch>& batches, index classes) {
  batch_sizes s;
  require(classes == w.module().out_cols(), what, ": ", classes, " classes, the model has ", w.module().out_cols());
  for (const Batch& b : batches) {
    require(b.x.cols == w.module().in_cols(), what, ": a batch has ", b.x.cols, " columns, the model takes ",
            w.module().in_cols());
    require(b.x.rows <= w.options().max_rows, what, ": a batch has ", b.x.rows, " rows, the workspace was made for ",
            w.options().max_rows);
    for (const std::int32_t label : b.labels)
      require(label >= 0 && label < classes, what, ": label ", label, " is not in [0, ", classes, ")");
    const auto labels = static_cast<index>(b.labels.size());
    s.rows += labels, s.most_rows = std::max(s.most_rows, b.x.rows), s.most_labels = std::max(s.most_labels, labels);
  }
  require(s.rows > 0, what, ": there are no labelled rows");
  return s;
}
/// The parameters that `includes` picks by name, all when it is empty.
template <class Model>
std::vector<param_entry> chosen_entries(const char* what, const workspace<Model>& w,
                                        const std::function<bool(const std::string&)>& includes) {
  std::vector<param_entry> chosen;
  for (const param_entry& e : w.entries())
    if (!includes || includes(e.name)) chosen.push_back(e);
  require(!chosen.empty(), what, ": no parameter was chosen out of ", w.entries().size());
  return chosen;
}

/// The mean cross-entropy of one call, with its memory.
template <class T, class Backend>
class mean_loss {
 public:
  mean_loss(index most_rows, index classes, double smoothing) : loss_({classes, smoothing}) {
    binder<Backend> dry;
    { [[maybe_unused]] auto measured = loss_.bind(dry, most_rows); }
    kept_ = owned_block<host_memory>(dry.saved.peak()), scratch_ = owned_block<host_memory>(dry.scratch.peak());
    binder<Backend> bound;
    bound.saved = kept_.as_arena();
    saved_ = loss_.bind(bound, most_rows);
  }
  /// The loss of the rows; dlogits, unless empty, = weight * its gradient.
  double operator()(context<Backend>& c, view<const T> logits, std::span<const std::int32_t> labels,
                    view<T> dlogits = {}, double weight = 1) {
    c.scratch = scratch_.as_arena();
    loss_.run(c, logits, labels, dlogits, saved_, weight);
    return saved_.report->loss;
  }

 private:
  nn::cross_entropy<T, Backend> loss_;
  owned_block<host_memory> kept_, scratch_;
  typename nn::cross_entropy<T, Backend>::saved saved_;
};
}  // namespace detail

}  // namespace polymoe::analysis
