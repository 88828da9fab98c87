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

#include "directions.hpp"
#include "mean_loss.hpp"
#include "symmetric_operator.hpp"

namespace polymoe::inline v0::analysis {

enum class gates { free, frozen };

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
      : work_(w), batches_(std::move(batches)), classes_(classes),
        sizes_(detail::check_batches("loss_landscape", work_, batches_, classes)),
        loss_(sizes_.most_labels, classes, 0),
        chosen_(detail::chosen_entries("loss_landscape", work_, includes)),
        size_(numbers_of(chosen_)) {
    logits_.resize(static_cast<std::size_t>(sizes_.most_labels * classes));
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
    return static_cast<double>(n) * loss_(work_.ctx(), y, b.labels);
  }
  /// Batch by batch, as a frozen plan is that of the last call only.
  std::vector<double> at_points(std::span<const real> u, std::span<const real> v, const std::vector<double>& alphas,
                                const std::vector<double>& betas, gates how) {
    auto& c = work_.ctx();
    real* values = work_.values().ptr[0];
    const std::vector<real> before(values, values + work_.values().cols);
    const auto restore = [&] {
      c.keep_plans = false;
      std::copy(before.begin(), before.end(), values);
      work_.refresh();
    };
    const detail::on_exit put_back([&, mode = c.mode] { restore(), c.mode = mode; });
    std::vector<double> sums(alphas.size() * betas.size(), 0.0);
    c.mode = run_mode::eval;
    for (const batch& b : batches_) {
      if (how == gates::frozen) {
        restore();
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
    for (double& x : sums) x /= static_cast<double>(sizes_.rows);
    return sums;
  }

  workspace<Model>& work_;
  std::vector<batch> batches_;
  index classes_;
  detail::batch_sizes sizes_;
  detail::mean_loss<scalar, typename Model::backend> loss_;
  std::vector<param_entry> chosen_;
  index size_ = 0;
  std::vector<scalar> logits_;
};

}  // namespace polymoe::analysis
