// The demo's two arms and what they hand to the report.
#pragma once

#include <csignal>
#include <map>
#include <string>
#include <vector>

#include <polymoe/analysis/tensor_norms.hpp>
#include <polymoe/layer/flops.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/specs.hpp>
#include <polymoe/train/idx.hpp>
#include <polymoe/train/log.hpp>
#include <polymoe/train/progress.hpp>
#include <polymoe/train/report.hpp>
#include <polymoe/train/trainer.hpp>

namespace demo {

using polymoe::index;

/// The MLP blocks of the sparse arm: V-MoE's recipe, top-2 of noisy softmax scores under a hard capacity.
template <class T>
using vit_moe = polymoe::specs::vit_moe<T>;

/// What the user chose, and the sizes that follow.
struct settings {
  std::string data, out;
  std::string device = "cpu";  ///< what the run's lines and files call it: cpu, or cuda and the GPU's name
  index epochs = 0, experts = 8;
  std::uint64_t seed = 1;
  int threads = 1;
  bool resume = false, bf16 = true;
  polymoe::nn::vit_sizes vit{};
  index hidden = 128;  ///< of one expert; the twin has K times as much
  index batch = 128;
  index images = 0;    ///< use only the first images of the training set; 0: all
  index test_images = 0;
  double learning_rate = 2e-3;
  /// Set by Ctrl-C; the training loops look at it after every step, on a GPU after every row of the log.
  const volatile std::sig_atomic_t* stop_requested = nullptr;
};

/// One epoch's line in the tables and charts.
struct epoch_row {
  polymoe::train_summary train;
  double test_accuracy = 0, test_loss = 0;
};

struct arm_result {
  std::string name, description;
  std::vector<epoch_row> epochs;
  polymoe::train_summary test;
  polymoe::cost cost;                  ///< parameters, active parameters and MACs of one image
  double rho_static = 0, rho_active = 0, rho_capacity = 0;
  double train_images_per_second = 0, seconds = 0;
  std::vector<polymoe::report_image> examples;
  bool interrupted = false;
};

inline constexpr index choices_per_token = 2;
inline constexpr float capacity_factor = 1.25f;

/// Trains one arm (or finishes a resumed one) and evaluates it.
template <class T>
arm_result run_moe(const settings&, const polymoe::train_test&);
template <class T>
arm_result run_dense(const settings&, const polymoe::train_test&);

/// The same on a GPU.  These come from the library demo_vit_cuda, which shares no function of the headers with the
/// program: its host code is compiled without oneDNN.
#define DEMO_OF_LIBRARY __attribute__((visibility("default")))
DEMO_OF_LIBRARY arm_result run_moe_on_gpu(const settings&, const polymoe::train_test&);
DEMO_OF_LIBRARY arm_result run_dense_on_gpu(const settings&, const polymoe::train_test&);
/// The name of the GPU, or "" and in `missing` what is missing.
DEMO_OF_LIBRARY std::string find_gpu(std::string& missing);
inline constexpr index most_experts_on_gpu = 64;  ///< kernels for more are not compiled

/// The table, summary.json and report.html; returns the paths written.
std::vector<std::string> write_results(const settings&, const polymoe::train_test&, const std::vector<arm_result>&);

}  // namespace demo
