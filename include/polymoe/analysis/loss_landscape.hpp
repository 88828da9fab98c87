// The loss on lines and planes through a model's parameters, along random directions whose filters are as long as the
// model's own (Li et al. 2018): curves of two models can then be compared, as rescaling a layer before a norm changes
// neither.
//
//   analysis::loss_landscape scape(work, batches, classes);
//   const auto u = scape.random_direction(1), v = scape.random_direction(2);
//   const auto line = scape.along(u, alphas, analysis::gates::frozen);
//   const auto plane = scape.over(u, v, alphas, betas);      // [alphas, betas]
//
// Free gates choose anew at every point, and the loss jumps where one changes its choice.  Frozen gates keep the plan
// that the parameters in the middle give, choices and weights: what is left is the experts' and the rest's own shape.
#pragma once

#include <functional>
#include <string>

#include "../core/workspace.hpp"
#include "directions.hpp"
#include "symmetric_operator.hpp"

namespace polymoe::inline v0::analysis {

enum class gates { free, frozen };

namespace detail {
/// Sum of the cross-entropies of rows of logits, in double; not finite where a logit is not.
template <class T>
double sum_of_losses(view<const T> logits, std::span<const std::int32_t> labels) {
  double sum = 0;
  for (index r = 0; r < logits.rows; ++r) {
    const auto z = [&](index k) { return static_cast<double>(value_of(logits.get(r, k))); };
    double most = z(0), all = 0;
    for (index k = 1; k < logits.cols; ++k) most = std::max(most, z(k));
    for (index k = 0; k < logits.cols; ++k) all += std::exp(z(k) - most);
    sum += std::log(all) + most - z(labels[static_cast<std::size_t>(r)]);
  }
  return sum;
}
}  // namespace detail

/// Of the mean cross-entropy over a set of examples, in evaluation mode, on the CPU.
template <class Model>
class loss_landscape {
 public:
  using scalar = typename Model::scalar;
  using real = real_t<master_t<scalar>>;
  using batch = labelled_rows<scalar>;
  static_assert(!is_dual<scalar>,
                "polymoe: loss_landscape needs a model over plain numbers; dual numbers are for loss_hessian");

  /// `includes` picks parameters by name, all when empty; others stay where they are.
  loss_landscape(workspace<Model>& w, std::vector<batch> batches, index classes,
                 const std::function<bool(const std::string&)>& includes = {})
      : work_(w), batches_(std::move(batches)), classes_(classes) {
    index most = 0;
    for (const batch& b : batches_) {
      require(b.x.cols == work_.module().in_cols() && classes == work_.module().out_cols(),
              "loss_landscape: a batch has ", b.x.cols, " columns and ", classes, " classes, the model maps ",
              work_.module().in_cols(), " to ", work_.module().out_cols());
      require(b.x.rows <= work_.options().max_rows, "loss_landscape: a batch has ", b.x.rows,
              " rows, the workspace was made for ", work_.options().max_rows);
      for (const std::int32_t label : b.labels)
        require(label >= 0 && label < classes, "loss_landscape: label ", label, " is not in [0, ", classes, ")");
      rows_ += static_cast<index>(b.labels.size()), most = std::max(most, static_cast<index>(b.labels.size()));
    }
    require(rows_ > 0, "loss_landscape: there are no labelled rows");
    logits_.resize(static_cast<std::size_t>(most * classes));
    for (const param_entry& e : work_.entries())
      if (!includes || includes(e.name)) chosen_.push_back(e), size_ += e.size;
    require(size_ > 0, "loss_landscape: no parameter was chosen out of ", work_.entries().size());
  }

  /// Numbers of a direction, and the tensors they belong to, in order.
  index size() const { return size_; }
  const std::vector<param_entry>& entries() const { return chosen_; }
  /// Normal numbers, normalised by filters of the parameters as they are now.
  std::vector<real> random_direction(std::uint64_t seed) {
    return filter_normalised(detail::normal_vector<real>(size_, seed, 0), work_.values().ptr[0], chosen_);
  }

  /// Mean loss at parameters + alpha * v for every alpha; the parameters are put back.
  std::vector<double> along(std::span<const real> v, const std::vector<double>& alphas, gates how = gates::free) {
    check(v.size());
    return at_points(v, {}, alphas, {0.0}, how);
  }
  /// [alphas, betas] mean loss at parameters + alpha * u + beta * v.
  std::vector<double> over(std::span<const real> u, std::span<const real> v, const std::vector<double>& alphas,
                           const std::vector<double>& betas, gates how = gates::free) {
    check(u.size()), check(v.size());
    return at_points(u, v, alphas, betas, how);
  }

 private:
  void check(std::size_t numbers) const {
    require(static_cast<index>(numbers) == size_, "loss_landscape: a direction of ", numbers, " numbers for ", size_,
            " parameters");
  }
  double losses_of(const batch& b) {
    const index n = static_cast<index>(b.labels.size());
    const view<scalar> y(logits_.data(), n, classes_);
    work_.forward(b.x, y);
    return detail::sum_of_losses<scalar>(y, b.labels);
  }
  /// Batch by batch, as a frozen plan is that of the last call only.
  std::vector<double> at_points(std::span<const real> u, std::span<const real> v, const std::vector<double>& alphas,
                                const std::vector<double>& betas, gates how) {
    auto& c = work_.ctx();
    real* values = work_.values().ptr[0];
    const std::vector<real> before(values, values + work_.values().cols);
    const run_mode mode = c.mode;
    const auto put_back = [&] {
      c.mode = mode, c.keep_plans = false;
      std::copy(before.begin(), before.end(), values);
      work_.refresh();
    };
    std::vector<double> sums(alphas.size() * betas.size(), 0.0);
    try {
      c.mode = run_mode::eval;
      for (const batch& b : batches_) {
        if (how == gates::frozen) {
          c.keep_plans = false;
          std::copy(before.begin(), before.end(), values);
          work_.refresh();
          losses_of(b);
          c.keep_plans = true;
        }
        for (std::size_t i = 0; i < alphas.size(); ++i)
          for (std::size_t j = 0; j < betas.size(); ++j) {
            step_along<real>(values, before.data(), chosen_, alphas[i], u, betas[j], v);
            work_.refresh();
            sums[i * betas.size() + j] += losses_of(b);
          }
      }
    } catch (...) {
      put_back();
      throw;
    }
    put_back();
    for (double& x : sums) x /= static_cast<double>(rows_);
    return sums;
  }

  workspace<Model>& work_;
  std::vector<batch> batches_;
  index classes_, rows_ = 0, size_ = 0;
  std::vector<param_entry> chosen_;
  std::vector<scalar> logits_;
};

}  // namespace polymoe::analysis
