// The Hessian of a model's mean loss over a set of examples, as an operator: products with vectors are exact.
//
// The model runs over dual numbers: parameters carry a direction v in their tangent plane, backward runs as always, and
// the tangent plane of the gradients is H v (forward over reverse).  No finite differences: in a sparse model they
// cross decisions of the router, and are then wrong by thousands of per cent.  Routing is locally constant; H has no
// part for the jumps at its borders, nor at the kinks of ReLU.
//
//   workspace<model<dual<float>>> w(...);  fill w.values() from a checkpoint
//   analysis::loss_hessian h(w, batches, classes);
//   const auto top = analysis::lanczos(h, {.count = 5});
//
// Vectors are dense: the chosen parameters one after the other, without the padding between tensors.
#pragma once

#include <functional>
#include <string>

#include "directions.hpp"
#include "mean_loss.hpp"
#include "symmetric_operator.hpp"

namespace polymoe::inline v0::analysis {

struct loss_hessian_options {
  double smoothing = 0;              ///< label smoothing of the loss
  run_mode mode = run_mode::eval;  ///< eval: no noise, no dropout, no balance losses; train: all of them, as drawn for
                                   ///< the workspace's step, the same in every product
  /// Which parameters the Hessian is taken over, by name; all when empty.  Others are held fixed: without those of the
  /// routers, the gates are frozen.
  std::function<bool(const std::string&)> includes{};
};

template <class Model>
class loss_hessian {
 public:
  using scalar = typename Model::scalar;
  using real = real_t<scalar>;
  static_assert(is_dual<scalar>,
                "polymoe: loss_hessian needs a model over dual<float> or dual<double>: the tangent of its "
                "gradients is the product with the Hessian");
  using batch = labelled_rows<real>;

  loss_hessian(workspace<Model>& w, std::vector<batch> batches, index classes, loss_hessian_options o = {})
      : work_(w), batches_(std::move(batches)), classes_(classes), options_(std::move(o)),
        sizes_(detail::check_batches("loss_hessian", work_, batches_, classes)),
        loss_(sizes_.most_labels, classes, options_.smoothing),
        chosen_(detail::chosen_entries("loss_hessian", work_, options_.includes)),
        size_(numbers_of(chosen_)) {
    for (const batch& b : batches_)
      require(b.x.contiguous(), "loss_hessian: the rows of a batch must lie one after the other");
    still_.assign(static_cast<std::size_t>(sizes_.most_rows * work_.module().in_cols()), real(0));
    logits_.resize(static_cast<std::size_t>(4 * sizes_.most_labels * classes));
  }

  index size() const { return size_; }
  /// The chosen tensors, in the order in which a vector holds them.
  const std::vector<param_entry>& entries() const { return chosen_; }

  /// out = H v.
  void apply(std::span<const real> v, std::span<real> out) {
    require(static_cast<index>(v.size()) == size_ && static_cast<index>(out.size()) == size_,
            "loss_hessian: vectors of ", v.size(), " and ", out.size(), " numbers for ", size_, " parameters");
    direction(v);
    run(true);
    collect(1, out);
  }
  /// out = gradient of the mean loss (of the balance losses too in training mode).
  void gradient(std::span<real> out) {
    require(static_cast<index>(out.size()) == size_, "loss_hessian: a vector of ", out.size(), " numbers for ", size_,
            " parameters");
    direction({});
    run(true);
    collect(0, out);
  }
  /// Mean loss over all examples, without balance losses.
  double loss() {
    direction({});
    run(false);
    return mean_loss_;
  }
  /// Mean loss at parameters + alpha * v for every alpha; the parameters are put back.
  std::vector<double> loss_along(std::span<const real> v, const std::vector<double>& alphas) {
    check_direction(v.size());
    const std::vector<real> before(values(), values() + work_.values().cols);
    const detail::on_exit put_back([&] {
      std::copy(before.begin(), before.end(), values());
      work_.refresh();
    });
    std::vector<double> out;
    for (const double alpha : alphas) {
      step_along<real>(values(), before.data(), chosen_, alpha, v, 0, {});
      out.push_back(loss());
    }
    return out;
  }
  /// v normalised by the filters of the chosen parameters.
  std::vector<real> filter_normalised(std::vector<real> v) {
    check_direction(v.size());
    return analysis::filter_normalised(std::move(v), static_cast<const real*>(values()), chosen_);
  }

 private:
  real* values() { return work_.values().ptr[0]; }
  void check_direction(std::size_t numbers) const {
    require(static_cast<index>(numbers) == size_, "loss_hessian: a direction of ", numbers, " numbers for ", size_,
            " parameters");
  }
  /// The tangent plane of the parameters; zero where v is empty or a tensor is not chosen.
  void direction(std::span<const real> v) {
    real* t = work_.values().ptr[1];
    std::fill_n(t, work_.values().cols, real(0));
    if (!v.empty()) {
      index at = 0;
      for (const param_entry& e : chosen_) {
        std::copy_n(v.data() + at, e.size, t + e.offset);
        at += e.size;
      }
    }
    work_.refresh();
  }
  void collect(int plane, std::span<real> out) {
    const real* g = work_.grads().ptr[plane];
    index at = 0;
    for (const param_entry& e : chosen_) {
      std::copy_n(g + e.offset, e.size, out.data() + at);
      at += e.size;
    }
  }
  /// Forward of all batches and, if wanted, backward; gradients are those of the mean over all rows.
  void run(bool backward) {
    const run_mode before = work_.ctx().mode;
    const float balance = work_.step().balance;
    const detail::on_exit put_back([&] { work_.ctx().mode = before, work_.step().balance = balance; });
    work_.ctx().mode = options_.mode;
    work_.zero_grads();
    double sum = 0;
    for (const batch& b : batches_) {
      const index n = static_cast<index>(b.labels.size());
      const view<const scalar> x(b.x.ptr[0], still_.data(), b.x.rows, b.x.cols);
      real* at = logits_.data();
      const view<scalar> y(at, at + n * classes_, n, classes_),
          dy(at + 2 * n * classes_, at + 3 * n * classes_, n, classes_);
      // Balance losses count as the loss does: by the share of the rows.
      work_.step().balance = balance * static_cast<float>(static_cast<double>(n) / static_cast<double>(sizes_.rows));
      work_.forward(x, y);
      const double share = static_cast<double>(n) / static_cast<double>(sizes_.rows);
      sum += share * loss_(work_.ctx(), y, b.labels, backward ? dy : view<scalar>{}, share);
      if (backward) work_.backward(dy, {});
    }
    mean_loss_ = sum;
  }

  workspace<Model>& work_;
  std::vector<batch> batches_;
  index classes_;
  loss_hessian_options options_;
  detail::batch_sizes sizes_;
  detail::mean_loss<scalar, typename Model::backend> loss_;
  std::vector<param_entry> chosen_;
  index size_ = 0;
  std::vector<real> still_, logits_;
  double mean_loss_ = 0;
};

}  // namespace polymoe::analysis
