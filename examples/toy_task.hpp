// A toy task for the short examples: points of four clusters, each cluster with its own linear map to learn; and plain
// gradient descent on a layer.
#pragma once

#include <cstdio>
#include <vector>

#include <polymoe/polymoe.hpp>

namespace toy {

inline constexpr polymoe::index points = 256, dim = 8, clusters = 4;

struct task {
  std::vector<float> x, target;
  task() : x(points * dim), target(points * dim) {
    const polymoe::random_stream r = polymoe::random_root{3}.stream(polymoe::stream_id("toy"), 0);
    const auto map = [&](polymoe::index c, polymoe::index i, polymoe::index j) {
      return r.normal(static_cast<std::uint64_t>((c * dim + i) * dim + j)) / 2;
    };
    for (polymoe::index t = 0; t < points; ++t) {
      const polymoe::index c = t % clusters;
      for (polymoe::index j = 0; j < dim; ++j) {
        const float centre = 2 * r.normal(static_cast<std::uint64_t>(1000 + c * dim + j));
        x[t * dim + j] = centre + r.normal(static_cast<std::uint64_t>(5000 + t * dim + j));
      }
      for (polymoe::index i = 0; i < dim; ++i)
        for (polymoe::index j = 0; j < dim; ++j) target[t * dim + i] += map(c, i, j) * x[t * dim + j];
    }
  }
};

/// Full-batch gradient descent on half the mean squared distance to the target; returns the loss of every step.
template <class Layer>
std::vector<double> train(polymoe::workspace<Layer>& w, int steps, float learning_rate) {
  const task data;
  std::vector<float> y(data.x.size()), dy(data.x.size());
  std::vector<double> losses;
  for (int step = 0; step < steps; ++step) {
    w.step().step = step;
    w.forward({data.x.data(), points, dim}, {y.data(), points, dim});
    double loss = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const float d = y[i] - data.target[i];
      loss += 0.5 * d * d / points, dy[i] = d / points;
    }
    losses.push_back(loss);
    w.zero_grads();
    w.backward({dy.data(), points, dim}, {});
    for (polymoe::index i = 0; i < w.values().cols; ++i) w.values().ptr[0][i] -= learning_rate * w.grads().ptr[0][i];
    w.module().commit(w.ctx());
    w.refresh();
  }
  return losses;
}

/// Prints what a check found and the course of the loss; true when the check is clean and the loss fell to `share`.
template <class Report>
bool judge(const Report& report, const std::vector<double>& losses, double share) {
  std::fputs(report.ok ? "check: every promise held\n" : report.text.c_str(), stdout);
  std::printf("loss %.3f -> %.3f in %zu steps\n", losses.front(), losses.back(), losses.size());
  return report.ok && losses.back() < share * losses.front();
}

}  // namespace toy
