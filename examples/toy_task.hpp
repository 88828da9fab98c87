// A toy task for the short examples: points of four clusters, each cluster with its own linear map to learn; plain
// gradient descent on a layer; and --device auto|cpu|cuda.  An example that nvcc compiles runs on a GPU as well.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include <polymoe/polymoe.hpp>
#if defined(__CUDACC__)
#include <polymoe/cuda.cuh>
#endif

#include "with_device.hpp"

namespace toy {

/// Calls run(backend) for the backend that --device asks for; the exit status.
template <class Run>
int on_device(int argc, char** argv, Run run) {
  const std::string name = argc == 1 ? "--device" : argv[1], wish = argc == 1 ? "auto" : argc == 3 ? argv[2] : "";
  if (name != "--device" || (wish != "auto" && wish != "cpu" && wish != "cuda")) {
    std::fprintf(stderr, "the only option is --device auto, cpu or cuda\n");
    return 2;
  }
  try {
    return program::with_device(wish, run);
  } catch (const polymoe::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

/// Rows of numbers in the memory of a layer's backend.
template <class Layer>
class rows {
 public:
  using memory = typename Layer::backend::memory;
  rows(polymoe::workspace<Layer>& w, polymoe::index count, polymoe::index cols)
      : stream_(w.ctx().stream),
        count_(count),
        cols_(cols),
        block_(static_cast<std::size_t>(count * cols) * sizeof(float)) {}
  void put(const std::vector<float>& v) { memory::write(stream_, block_.data(), v.data(), block_.size()); }
  std::vector<float> on_host() const {
    std::vector<float> v(static_cast<std::size_t>(count_ * cols_));
    memory::read(stream_, v.data(), block_.data(), block_.size());
    return v;
  }
  operator polymoe::view<float>() { return {static_cast<float*>(block_.data()), count_, cols_}; }
  operator polymoe::view<const float>() { return polymoe::view<float>(*this); }

 private:
  const typename Layer::backend::stream& stream_;
  polymoe::index count_, cols_;
  polymoe::owned_block<memory> block_;
};

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

/// Full-batch gradient descent on half the mean squared distance to the target; returns the loss of every step.  The
/// layer is its backend's, loss and descent are the host's.
template <class Layer>
std::vector<double> train(polymoe::workspace<Layer>& w, int steps, float learning_rate) {
  const task data;
  rows<Layer> x(w, points, dim), y(w, points, dim), dy(w, points, dim);
  x.put(data.x);
  std::vector<float> d(data.x.size());
  std::vector<double> losses;
  for (int step = 0; step < steps; ++step) {
    w.step().step = step;
    w.forward(x, y);
    const std::vector<float> out = y.on_host();
    double loss = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float off = out[i] - data.target[i];
      loss += 0.5 * off * off / points, d[i] = off / points;
    }
    losses.push_back(loss);
    dy.put(d);
    w.zero_grads();
    w.backward(dy, {});
    std::vector<float> values = w.values_on_host();
    const std::vector<float> grads = w.grads_on_host();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] -= learning_rate * grads[i];
    w.set_values(values);
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
