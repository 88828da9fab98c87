// demo_vit: trains a ViT whose MLP blocks are sparse Mixture-of-Experts layers, and its dense twin with equal active
// FLOPs, on Fashion-MNIST, and compares them.
//
// 'ViT 4x96, E=8, K=2, every block, Fashion-MNIST'; expected test accuracy 0.88 or more (docs/results/demo.md has
// measured figures and times).
#include <cstdio>
#include <filesystem>

#include "../experiment/device.hpp"
#include "../experiment/program.hpp"
#include "demo.hpp"

namespace {

/// Whether the arms run on a GPU; sets settings.device and says, for "auto", why.  Throws when "cuda" cannot be had.
bool takes_gpu(const std::string& wish, demo::settings& s) {
  std::string missing, name;
#if defined(POLYMOE_DEMO_CUDA)
  if (wish != "cpu") name = demo::find_gpu(missing);
  if (!name.empty() && s.experts > demo::most_experts_on_gpu)
    missing = "its arms were compiled for at most " + std::to_string(demo::most_experts_on_gpu) +
              " experts, --experts is " + std::to_string(s.experts);
#else
  missing = "this build has no CUDA arms; ./demo builds them where it sees a GPU or --device cuda and finds nvcc "
            "(CMake: -DPOLYMOE_CUDA=ON -DPOLYMOE_DEMO_CUDA=ON)";
#endif
  s.device = program::chosen_device(wish, name, missing);
  return s.device != "cpu";
}

int run(int argc, char** argv) {
  demo::settings s;
  s.data = polymoe::fashion_mnist_folder;
  s.out = "demo-out";
  s.threads = polymoe::hardware_threads();
  long long epochs = 0;
  std::string precision = "auto", device = "auto";
  CLI::App app{"Trains a sparse MoE vision transformer and its dense twin on Fashion-MNIST and compares them."};
  app.option_defaults()->always_capture_default();
  app.add_option("--data", s.data, "folder with the four gzipped IDX files of Fashion-MNIST");
  app.add_option("--epochs", epochs, "epochs of both arms (0: 7)")->check(CLI::Range(0, 10000));
  app.add_option("--experts", s.experts, "experts of each MoE layer")->check(CLI::Range(2, polymoe::max_experts));
  app.add_option("--seed", s.seed, "seed of everything random")->check(program::not_negative);
  app.add_option("--threads", s.threads, "threads; results do not depend on it")->check(CLI::Range(1, 1024));
  app.add_option("--out", s.out, "folder for checkpoints, logs, summary.json and report.html");
  app.add_option("--precision", precision, "auto, bf16 or f32")->check(CLI::IsMember({"auto", "bf16", "f32"}));
  app.add_option("--images", s.images, "train on the first N images only (0: all), for a quick look")
      ->check(CLI::Range(0, 60000));
  app.add_option("--test-images", s.test_images, "test on the first N images only (0: all)")
      ->check(CLI::Range(0, 10000));
  program::add_device_option(app, device);
  app.add_flag("--resume", s.resume, "continue the run in --out");
  if (const int status = program::parse(app, "demo_vit", argc, argv); status >= 0) return status;

  const bool gpu = takes_gpu(device, s);
  s.stop_requested = &program::stop_requested;
  const bool fast = gpu || polymoe::maths::bf16_is_fast();
  s.bf16 = precision == "bf16" || (precision == "auto" && fast);
#if !defined(POLYMOE_DEMO_F32)
  polymoe::require(s.bf16,
                   "this build has no f32 arms (its processor has fast bf16); configure with -DPOLYMOE_DEMO_F32=ON");
#endif
  // The shape: wide overlapping patches, few tokens (4 x 4), so that most of the work is in matrix products.
  s.vit.patch = 9, s.vit.stride = 7, s.vit.padding = 1;
  s.vit.dim = 96, s.vit.heads = 4, s.vit.depth = 4;
  s.hidden = 192;
  s.epochs = 7;
  if (!s.bf16) {
    std::printf(fast ? "Both arms run a smaller model in f32.\n"
                     : "This CPU has no fast bf16 products (or the build lacks oneDNN): both arms run a smaller model "
                       "in f32.\n");
    s.vit.dim = 64, s.hidden = 128;
    s.learning_rate = 2.5e-3;
  }
  if (epochs > 0) s.epochs = epochs;

  polymoe::train_test data = polymoe::read_fashion_mnist(s.data);
  if (s.images > 0) {
    polymoe::require(s.images >= s.batch, "--images ", s.images, " is less than one batch of ", s.batch);
    data.train = data.train.slice(0, s.images);
  }
  if (s.test_images > 0) data.test = data.test.slice(0, s.test_images);
  program::make_folder(s.out);
  // A new run must not be continued later with what an older one left.
  std::error_code ignored;
  if (!s.resume)
    for (const char* arm : {"moe", "dense"})
      std::filesystem::remove(s.out + "/" + arm + "/checkpoint.safetensors", ignored);
  std::printf("Fashion-MNIST from %s: %lld training and %lld test images\n%s, %d threads, products in %s\n",
              s.data.c_str(), static_cast<long long>(data.train.size()), static_cast<long long>(data.test.size()),
              gpu ? s.device.c_str() : polymoe::maths::isa_name().c_str(), s.threads, s.bf16 ? "bf16" : "f32");
  program::watch_interrupts();

  std::vector<demo::arm_result> arms;
  for (const bool moe : {true, false}) {
#if defined(POLYMOE_DEMO_CUDA)
    if (gpu)
      arms.push_back(moe ? demo::run_moe_on_gpu(s, data) : demo::run_dense_on_gpu(s, data));
    else
#endif
    if (s.bf16)
      arms.push_back(moe ? demo::run_moe<polymoe::bf16>(s, data) : demo::run_dense<polymoe::bf16>(s, data));
#if defined(POLYMOE_DEMO_F32)
    else
      arms.push_back(moe ? demo::run_moe<float>(s, data) : demo::run_dense<float>(s, data));
#endif
    if (arms.back().interrupted) return program::stopped();
    if (!arms.back().description.empty()) std::printf("%s\n", arms.back().description.c_str());
  }
  const auto files = demo::write_results(s, data, arms);
  std::printf("\nCheckpoints and logs: %s/moe and %s/dense\n", s.out.c_str(), s.out.c_str());
  for (const auto& f : files) std::printf("Written: %s\n", f.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return program::main_of("demo_vit", [&] { return run(argc, argv); });
}
